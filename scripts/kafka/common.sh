# Shared by start, stop and tool; sourced, not run.
set -euo pipefail

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Prints the pid of the broker that runs in directory $1; fails when none does.
broker_pid() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1/server.properties" && echo "$pid"
}
