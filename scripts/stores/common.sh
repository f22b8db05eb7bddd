# Shared by the scripts beside it; sourced, not run.
. "$(dirname "${BASH_SOURCE[0]}")/../kafka/common.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$cache/stores

# Runs a command that makes directory $1 in the one it is given, once; the rest are the command.
once() {
    local made=$1 making
    shift
    [ ! -d "$made" ] || return 0
    mkdir -p "$cache"
    (
        exec 9>"$made.lock"
        flock 9
        [ ! -d "$made" ] || exit 0
        making=$(mktemp -d "$cache/making.XXXXXX")
        trap 'chmod -R u+w "$making"; rm -rf "$making"' EXIT
        echo "$(basename "$0"): fetching $(basename "$made")" >&2
        "$@" "$making/it" >"$making/log" 2>&1 || { tail -20 "$making/log" >&2; exit 1; }
        mv -T "$making/it" "$made"
    ) || die "$(basename "$made") could not be made"
}

# Sets go to one that builds what is wanted here.
find_go() {
    local minor version=go1.26.8
    command -v go >/dev/null || die "there is no go"
    minor=$(go version | sed -nE 's/^go version go1\.([0-9]+).*/\1/p')
    go=go
    [ "${minor:-0}" -lt 26 ] || return 0
    once "$cache/$version" fetch_go "$version.$(go env GOOS)-$(go env GOARCH)"
    go=$cache/$version/bin/go
}

# Fetches toolchain $1 as go does from 1.21 on where it may: as a module, whose programs nobody may run yet and whose go.mod
# have another name.
fetch_go() {
    local home
    home=$(cd / && GOFLAGS=-modcacherw go mod download -json "golang.org/toolchain@v0.0.1-$1" | sed -nE 's/.*"Dir": "(.*)".*/\1/p') &&
        cp -R "$home" "$2" && chmod -R u+w "$2" && chmod +x "$2"/bin/* "$2"/pkg/tool/*/* &&
        find "$2" -name _go.mod -execdir mv {} go.mod ';'
}

# Builds program $1 of a Go module at version $2 and makes $3 a link to it.
fetch_binary() {
    local home
    home=$cache/$(basename "$1")-$2
    [ -d "$home" ] || find_go
    once "$home" build "$1@$2"
    ln -sf "$home/$(basename "$1")" "$3"
}
build() { env -u GOROOT GOBIN="$2" CGO_ENABLED=0 "$go" install -trimpath -ldflags '-s -w' "$1"; }

# Fetches moto and sets python, which has it.
fetch_moto() {
    local home
    home=$cache/$(sed -n 's/^moto==/moto-/p' "$here/moto/requirements.txt")-$(sum "$here/moto")
    once "$home" install_moto
    python=$home/bin/python
}
# Its own scripts would name the place where it was made; they are not used.
install_moto() {
    python3 -m venv "$1" && "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/moto/requirements.txt" &&
        "$1/bin/python" -m pip check && "$1/bin/python" -c 'import moto.server'
}

# Fetches azurite and makes $1 a link to its program.
fetch_azurite() {
    local home
    home=$cache/$(sed -nE 's/.*"azurite": "(.*)".*/azurite-\1/p' "$here/azurite/package.json")-$(sum "$here/azurite")
    once "$home" install_azurite
    ln -sf "$home/node_modules/azurite/dist/src/blob/main.js" "$1"
}
install_azurite() {
    cp -R "$here/azurite" "$1" && cd "$1" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
}

sum() { cat "$1"/* | sha256sum | cut -c1-8; }

# Waits until http://127.0.0.1:$2/ answers for the server that was started in $1.
answers() {
    for _ in $(seq 600); do
        kill -0 "$(cat "$1/pid")" 2>/dev/null || return 1
        if [ -n "$(http "$2" GET / 2>/dev/null | head -c 1)" ]; then return 0; fi
        sleep 0.05
    done
    return 1
}

# http PORT METHOD PATH [BODY]: the whole answer.
http() (
    body=${4:-}
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
        "$2" "$3" "$1" "${#body}" "$body" >&3
    timeout 10 cat <&3
)
