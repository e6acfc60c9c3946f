#!/bin/bash
# Brings docker-compose.yml up on an engine of its own, and asks the running containers whether they are what it says.
#
# Nothing is pulled: the base images are made here from this machine's programs, under the very tags that the files name.
# So this tests Dockerfile, docker-compose.yml, configuration, rights and wiring, and not the published images.
# Grafana, which no package of Debian has, is left out. The engine gets name spaces of its own for mounts and network:
# the files' fixed ports collide with nothing on this machine, and nothing stays behind.
set -Eeuo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin
services=(exporter optimizer alertmanager prometheus)
passed=0

main() {
    can_run
    tmp=$(mktemp -d /tmp/headroom-compose.XXXXXX)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
    copy_project
    start_engine
    make_images
    step "build and up"
    compose build -q exporter
    compose up -d --no-build "${services[@]}" >>"$tmp/compose.log" 2>&1 || fail "docker-compose up"
    wait_until "all are healthy" 90 all_healthy
    for service in "${services[@]}"; do
        check_rights "$service"
    done
    check_loopback
    check_exporter
    check_prometheus
    check_alert
    check_grafana
    echo "$passed passed, 0 failed"
}

can_run() {
    local program why=
    for program in dockerd docker busybox curl unshare nsenter; do
        command -v "$program" >/dev/null || why="no $program"
    done
    if docker compose version >/dev/null 2>&1; then
        composer=(docker compose)
    elif command -v docker-compose >/dev/null; then
        composer=(docker-compose)
    else
        why="no docker compose"
    fi
    unshare --mount --net true 2>/dev/null || why="no name spaces may be made here"
    [ "$(id -u)" -eq 0 ] || why="only root can start an engine"
    if [ -n "$why" ]; then
        echo "SKIPPED: docker-compose.yml was NOT brought up: $why"
        exit 0
    fi
}

# A copy, so that the secrets of the one who tests are neither used nor touched.
copy_project() {
    project=$tmp/project
    mkdir "$project"
    tar -C "$repo" --exclude=./target --exclude=./.git --exclude=./secrets -c . | tar -C "$project" -x
    [ -e "$project/headroom.example.yaml" ] || echo "# all defaults" >"$project/headroom.example.yaml"
    "$project/scripts/secrets.sh" "$project/secrets"
    "$project/scripts/secrets.sh" "$project/secrets" | grep -q . && fail "a second run of secrets.sh made other secrets"
    token=$(cat "$project/secrets/webhook-token")
}

start_engine() {
    step "engine"
    export DOCKER_HOST=unix://$tmp/docker.sock COMPOSE_PROJECT_NAME=headroom-test
    unset HEADROOM_CONFIG
    # `/` is made shared within the engine's name space: the exporter's rslave mount wants what systemd does elsewhere.
    # shellcheck disable=SC2016 # $0 is the inner shell's
    unshare --mount --net sh -c 'mount --make-rshared / && busybox ip link set lo up && exec dockerd "$@"' dockerd \
        --iptables=false --ip6tables=false --data-root "$tmp/data" --exec-root "$tmp/exec" \
        --pidfile "$tmp/docker.pid" --host "$DOCKER_HOST" >"$tmp/dockerd.log" 2>&1 &
    engine=$!
    wait_until "the engine answers" 60 docker version
}

clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "${engine:-}" ]; then
        if [ "$status" -ne 0 ]; then
            docker ps -a || true
            compose logs --no-color --tail=30 || true
            tail -n 5 "$tmp/dockerd.log"
        fi
        compose down -v --timeout 5 >>"$tmp/compose.log" 2>&1 || true
        kill "$engine" 2>/dev/null || true
        wait "$engine" || true
    fi
    rm -rf "$tmp"
    exit "$status"
}

compose() {
    (cd "$project" && "${composer[@]}" "$@")
}

make_images() {
    local build runtime tree
    step "binary"
    (cd "$repo" && cargo build --locked --quiet)
    step "base images"
    # The Dockerfile's own base images: a `cargo` that hands out the binary built above, and the libraries it needs.
    build=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' "$repo/Dockerfile")
    runtime=$(sed -n 's/^FROM \([^ ]*\)$/\1/p' "$repo/Dockerfile")
    tree=$tmp/tree/build
    install_busybox "$tree"
    cp "${CARGO_TARGET_DIR:-$repo/target}/debug/headroom" "$tree/headroom"
    strip "$tree/headroom" 2>/dev/null || true
    mkdir -p "$tree/usr/local/bin"
    cat >"$tree/usr/local/bin/cargo" <<'END'
#!/bin/sh
[ "$*" = "build --release --locked" ] && [ -f Cargo.lock ] && [ -f src/main.rs ] && [ ! -e secrets ] || exit 1
mkdir -p target/release && cp /headroom target/release/
END
    chmod 0755 "$tree/usr/local/bin/cargo"
    import_tree build "$build"
    mkdir -p "$tmp/tree/runtime"
    libraries_of "$tree/headroom" "$tmp/tree/runtime"
    import_tree runtime "$runtime"
    server prometheus prometheus
    server alertmanager prometheus-alertmanager alertmanager
}

# server NAME PROGRAM...: an image like the published one, with the program of this machine.
server() {
    local name=$1 program tree=$tmp/tree/$1
    shift
    program=$(command -v "$@" | head -n1)
    install_busybox "$tree"
    cp -L "$program" "$tree/bin/$name"
    libraries_of "$program" "$tree"
    # Debian keeps the templates and pages beside the program; upstream builds them in.
    if [ -d "/usr/share/prometheus/$name" ]; then
        mkdir -p "$tree/usr/share/prometheus"
        cp -RL "/usr/share/prometheus/$name" "$tree/usr/share/prometheus/"
    fi
    install -d -o 65534 -g 65534 "$tree/$name"
    import_tree "$name" "$(sed -n "s|^    image: \(prom/$name:.*\)|\1|p" "$repo/docker-compose.yml")" "/bin/$name"
}

install_busybox() {
    mkdir -p "$1/bin" "$1/tmp"
    cp -L "$(command -v busybox)" "$1/bin/busybox"
    libraries_of "$1/bin/busybox" "$1"
    for applet in sh mkdir cp wget; do
        ln -s busybox "$1/bin/$applet"
    done
}

# libraries_of PROGRAM TREE
libraries_of() {
    local library
    # A static program has none.
    { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p "$2$(dirname "$library")"
        cp -L "$library" "$2$library"
    done
}

# import_tree TREE TAG [ENTRYPOINT]
import_tree() {
    local change=()
    [ -n "$2" ] || fail "no tag for the image $1: its line in Dockerfile or docker-compose.yml has changed"
    [ -z "${3:-}" ] || change=(--change "ENTRYPOINT [\"$3\"]")
    tar --numeric-owner -C "$tmp/tree/$1" -c . | docker import "${change[@]}" - "$2" >/dev/null
}

# The pid of a service's process on the host.
pid_of() {
    docker inspect -f '{{.State.Pid}}' "$(compose ps -q "$1")"
}

all_healthy() {
    local service
    for service in "${services[@]}"; do
        [ "$(docker inspect -f '{{.State.Health.Status}}' "$(compose ps -q "$service")")" = healthy ] || return 1
    done
}

# What the kernel says of the process, not what was asked for.
check_rights() {
    local pid status
    pid=$(pid_of "$1")
    status=$(cat "/proc/$pid/status")
    check "$1 runs without root" grep -Eq '^Uid:(\s+[1-9][0-9]*){4}$' <<<"$status"
    check "$1 has no capability, and can get none" \
        test "$(grep -Ec '^Cap(Prm|Eff|Bnd|Amb):\s+0+$' <<<"$status")" -eq 4
    check "$1 can gain no privilege" grep -Eq '^NoNewPrivs:\s+1$' <<<"$status"
    # As root of the host, so that only the mount can say no.
    check "$1 has a read-only root" refused touch "/proc/$pid/root/usr-was-here"
}

check_loopback() {
    local pid listening
    pid=$(pid_of exporter)
    listening=$(awk '$4 == "0A" { print $2 }' "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" | sort | tr '\n' ' ')
    # 127.0.0.1 with the ports 9090, 9093, 9177 and 9178, as the kernel writes them.
    check "only loopback is listened on, by four" \
        test "$listening" = "0100007F:2382 0100007F:2385 0100007F:23D9 0100007F:23DA "
}

check_exporter() {
    local page root
    page=$(fetch http://127.0.0.1:9177/metrics)
    check "the exporter measures the host's memory" \
        has "node_memory_MemTotal_bytes $(awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo)" "$page"
    check "it names the host" has "nodename=\"$(uname -n)\"" "$page"
    root=$(stat -fc '%b %S' / | awk '{ printf "%.0f", $1 * $2 }')
    check "it sees the host's root file system" \
        has "mountpoint=\"/\"} $root" "$(as_integers <<<"$page")"
    check "no collector fails" refused grep -q 'collector failed' <(compose logs --no-color exporter)
    # Those whose subject every machine has; others have nothing to say where the device is not there.
    local collector
    for collector in cgroup cpu diskstats filefd filesystem loadavg meminfo netclass netdev netstat os process_groups \
        sockstat stat time timex uname vmstat; do
        check "the collector $collector succeeds" has "node_scrape_collector_success{collector=\"$collector\"} 1" "$page"
    done
}

# 1.5e+09 and 1500000000 are the same number.
as_integers() {
    awk '!/^#/ { $NF = sprintf("%.0f", $NF); print }'
}

check_prometheus() {
    wait_until "Prometheus' targets are up" 60 targets_up
    check "the rules are loaded" has '"name":"Watchdog"' "$(fetch http://127.0.0.1:9090/api/v1/rules)"
    check "Alertmanager is known to Prometheus" \
        has 'http://127.0.0.1:9093/api/v2/alerts' "$(fetch http://127.0.0.1:9090/api/v1/alertmanagers)"
}

targets_up() {
    local targets
    targets=$(fetch 'http://127.0.0.1:9090/api/v1/targets?state=active')
    [ "$(grep -o '"health":"up"' <<<"$targets" | wc -l)" -eq 4 ] &&
        [ "$(grep -o '"health":"' <<<"$targets" | wc -l)" -eq 4 ]
}

check_alert() {
    local alert='[{"labels":{"alertname":"ComposeTest","headroom_action":"nothing","instance":"127.0.0.1:9177"}}]'
    check "Alertmanager has the repository's routes" \
        has 'headroom-optimizer' "$(fetch http://127.0.0.1:9093/api/v2/status)"
    check "the record is closed without the token" refused fetch http://127.0.0.1:9178/api/v1/actions
    fetch http://127.0.0.1:9093/api/v2/alerts --header "Content-Type: application/json" --data "$alert"
    wait_until "the alert has gone through Alertmanager to the optimizer's record" 30 recorded
    compose up -d --no-build --no-deps --force-recreate --renew-anon-volumes optimizer >>"$tmp/compose.log" 2>&1
    wait_until "the record outlives the container" 60 recorded
}

# Without Grafana, its files can still be held against the others: it looks for Prometheus where that listens, and for
# dashboards where they are mounted.
check_grafana() {
    local provisioning=$project/grafana/provisioning path
    check "Grafana's data source is the address of Prometheus" \
        grep -Eq '^ +url: http://127.0.0.1:9090$' "$provisioning"/datasources/*
    path=$(sed -n 's/^ *path: //p' "$provisioning"/dashboards/*)
    check "Grafana's dashboards are mounted where it looks" \
        grep -Fq -- "./grafana/dashboards:$path:ro" "$project/docker-compose.yml"
}

recorded() {
    local record
    record=$(fetch http://127.0.0.1:9178/api/v1/actions --header "Authorization: Bearer $token")
    has ComposeTest "$record" && has no_policy "$record"
}

# fetch URL [OPTION...]: from where the engine's containers are.
fetch() {
    nsenter --target "$engine" --net curl --silent --show-error --fail --noproxy '*' --max-time 5 "$@"
}

has() {
    grep -Fq -- "$1" <<<"$2"
}

refused() {
    ! "$@" 2>/dev/null
}

# check WHAT COMMAND...
check() {
    "${@:2}" || fail "$1"
    pass "$1"
}

# wait_until WHAT SECONDS COMMAND...
wait_until() {
    local end=$((SECONDS + $2))
    until "${@:3}" >/dev/null 2>&1; do
        kill -0 "$engine" || fail "the engine runs"
        [ "$SECONDS" -lt "$end" ] || fail "$1 (within $2 s)"
        sleep 0.5
    done
    pass "$1"
}

pass() {
    passed=$((passed + 1))
    echo "ok: $1"
}

step() {
    echo "-- $1"
}

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

main
