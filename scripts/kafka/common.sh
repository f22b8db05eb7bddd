# Shared by the scripts beside it; sourced, not run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=${KAFKA_VERSION:-4.1.2}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/heartbeat

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Prints the pid of what runs in directory $1: an argument of that process names a file there. Fails when nothing does.
pid_in() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | awk -v prefix="$1/" 'index($0, prefix) == 1 { found = 1 } END { exit !found }' &&
        echo "$pid"
}

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which the kernel hands out ports, so that no outgoing connection sits on it.
free_port() {
    local candidate
    while :; do
        candidate=$((20000 + RANDOM % 12000))
        is_taken "$candidate" || break
    done
    echo "$candidate"
}

# Prints $1 different free ports.
free_ports() {
    local -A ports=()
    while [ ${#ports[@]} -lt "$1" ]; do ports[$(free_port)]=; done
    echo "${!ports[@]}"
}

# Fetches what the Maven dependencies $3 (lines of group:artifact:version) bring into directory $1, once; $2 names them.
fetch_jars() {
    (
        mkdir -p "$(dirname "$1")"
        exec 9>"$(dirname "$1")/lock"
        flock 9
        [ ! -d "$1" ] || exit 0
        fetch=$(mktemp -d "$(dirname "$1")/fetch.XXXXXX")
        trap 'rm -rf "$fetch"' EXIT
        {
            echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            echo '<groupId>heartbeat</groupId><artifactId>testbed</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
            while IFS=: read -r group artifact v; do
                echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$v</version></dependency>"
            done <<<"$3"
            echo '</dependencies></project>'
        } >"$fetch/pom.xml"
        echo "$(basename "$0"): fetching $2" >&2
        mvn -q -B -Dstyle.color=never -f "$fetch/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fetch/jars" >&2 ||
            die "mvn could not fetch $2"
        mv "$fetch/jars" "$1"
    )
}

# Fetches Kafka and sets jars, its directory.
fetch_kafka() {
    local dependencies="org.apache.kafka:kafka_2.13:$version
org.apache.kafka:kafka-tools:$version"
    # Kafka 4 has no logging back end among its dependencies, 3.x has.
    case $version in
        3.*) ;;
        *) dependencies+=$'\norg.apache.logging.log4j:log4j-slf4j-impl:2.25.3' ;;
    esac
    jars=$cache/kafka/$version
    fetch_jars "$jars" "Kafka $version" "$dependencies"
}

# Makes directory $1 one of a Kafka, with more class path $2, and sets java, the command of its processes.
prepare() {
    mkdir -p "$1"
    cat >"$1/log4j2.properties" <<'LOG'
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
LOG
    cat >"$1/log4j.properties" <<'LOG'
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n
LOG
    echo "$jars" >"$1/jars"
    java=(java "-Dlog4j2.configurationFile=$1/log4j2.properties" "-Dlog4j.configuration=file:$1/log4j.properties" -cp "$jars/*${2:+:$2}")
}

# Any 16 bytes are a cluster id, but one that begins with - reads as an option of Kafka's tools.
cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | sed 's/^-/A/'; }

# Formats the data directory of the server in $1 for cluster $2 unless it is; the rest are arguments for the tool.
format() {
    local dir=$1 id=$2
    shift 2
    [ ! -f "$dir/data/meta.properties" ] || return 0
    "${java[@]}" $lean kafka.tools.StorageTool format -c "$dir/server.properties" -t "$id" "$@" >"$dir/format.log" 2>&1 ||
        { cat "$dir/format.log" >&2; return 1; }
}

# Arguments for a java that starts soon and takes little, where throughput is not what is tested.
lean="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

# Starts the server that $1/server.properties describes; the rest are arguments for java.
spawn() {
    local dir=$1
    shift
    setsid "${java[@]}" -Xmx"${KAFKA_HEAP:-512m}" "$@" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 </dev/null &
    echo "$!" >"$dir/pid"
}

# Ends what runs in the directories; what does not obey in time is killed.
end() {
    local one pid running
    for one in "$@"; do
        pid=$(pid_in "$one") || continue
        # One that was paused has to run to end.
        kill -TERM "$pid" 2>/dev/null && kill -CONT "$pid" 2>/dev/null || true
    done
    for _ in $(seq 300); do
        running=()
        for one in "$@"; do
            pid=$(pid_in "$one") && running+=("$pid")
        done
        [ ${#running[@]} -gt 0 ] || return 0
        sleep 0.1
    done
    kill -KILL "${running[@]}" 2>/dev/null || true
}

# Waits until the server that was started in $1 is ready, on port $2 where one is given; ends it and fails when it is not.
await() {
    for _ in $(seq 900); do
        kill -0 "$(cat "$1/pid")" 2>/dev/null || break
        if grep -qs "Kafka Server started" "$1/log" && { [ -z "${2:-}" ] || is_taken "$2"; }; then return 0; fi
        sleep 0.1
    done
    tail -20 "$1/log" >&2
    end "$1"
    return 1
}
