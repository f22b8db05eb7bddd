# Drops a trigger file for heartbeat: paste it behind what it tells the end of. It fails when no file could be dropped.
(
    set -euo pipefail
    sensor_id=<<sensor_id>>
<<variables>>
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT

<<body>>

    # Puts file $2 at the name $1. 1: the name is taken. Whatever else goes wrong is told and ends it.
    put() {
<<put>>
    }

    fail() {
        cat "$work/told" >&2
        exit 2
    }

    # A name that is taken is left as it is, and another tried when its second has passed.
    for try in {1..60}; do
        name=${sensor_id}_$(date -u +%Y%m%d_%H%M%S).txt
        body "$name" >"$work/body"
        if put "$name" "$work/body"; then
            exit 0
        fi
        sleep 1
    done
    echo "no name for a trigger file was free for a minute" >&2
    exit 2
)
