#!/bin/sh
# Sends StatsD with the clients that people use, and the same datagrams to Headroom and to the real statsd_exporter.
#   run.sh [HEADROOM]       without an argument the debug binary is built
# The clients come from pip into target/statsd; statsd_exporter (prometheus-statsd-exporter) is taken from PATH. Where one is
# not there, that part is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/statsd
kept=${CARGO_TARGET_DIR:-$root/target}/statsd

failed=0
# check NAME COMMAND…: ok or FAIL, and what the command said if it failed.
check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok    $name"
    else
        failed=1
        echo "FAIL  $name"
        printf '%s\n' "$said" | tail -n 40 | sed 's/^/        /'
    fi
}

skip() {
    echo "SKIPPED: $*" >&2
}

main() {
    binary=${1:-}
    if [ -z "$binary" ]; then
        cargo build --quiet --locked --manifest-path "$root/Cargo.toml"
        binary=${CARGO_TARGET_DIR:-$root/target}/debug/headroom
    fi
    work=$(mktemp -d)
    pids=
    trap finish EXIT
    # Ports that are free now.
    # shellcheck disable=SC2046 # six words
    set -- $(python3 -c '
import socket
all = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*(s.getsockname()[1] for s in all))')
    udp=127.0.0.1:$1 page=127.0.0.1:$2 mapped_udp=127.0.0.1:$3 mapped_page=127.0.0.1:$4
    their_udp=127.0.0.1:$5 their_page=127.0.0.1:$6
    start_headroom "$udp" "$page" "unix: statsd.sock, set_interval: 3s"
    if clients; then
        check 'the clients statsd and datadog' "$kept/venv/bin/python" "$here/senders.py" "$udp" "$page" "$work/statsd.sock"
    fi
    exporter=$(command -v statsd_exporter || command -v prometheus-statsd-exporter || :)
    if [ -z "$exporter" ]; then
        skip 'no statsd_exporter: nothing was compared with it'
    else
        start_headroom "$mapped_udp" "$mapped_page" "mapping_file: $here/mapping.yml"
        "$exporter" --web.listen-address="$their_page" --statsd.listen-udp="$their_udp" --statsd.listen-tcp= \
            --statsd.mapping-config="$here/mapping.yml" >"$work/exporter.log" 2>&1 &
        pids="$pids $!"
        wait_for "http://$their_page/metrics" "$work/exporter.log"
        check 'statsd_exporter shows the same' python3 -B "$here/compare.py" "$mapped_udp" "$mapped_page" "$their_udp" "$their_page"
    fi
    return "$failed"
}

finish() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "$work"
}

start_headroom() {
    cat >"$work/headroom.yaml" <<END
exporter: {listen: '$2', page_age_max: 0s, collectors: {disable_defaults: true}}
applications: {statsd: {udp: '$1', $3}}
END
    "$binary" exporter --config "$work/headroom.yaml" >"$work/headroom.log" 2>&1 &
    pids="$pids $!"
    wait_for "http://$2/-/ready" "$work/headroom.log"
}

wait_for() {
    i=0
    until python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null; do
        i=$((i + 1))
        if [ "$i" -gt 100 ]; then
            cat "$2" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# What is there already in the right version is not asked for again.
clients() {
    if ! cmp -s "$here/requirements.txt" "$kept/venv/requirements.txt"; then
        mkdir -p "$kept"
        rm -rf "$kept/venv"
        if ! python3 -m venv "$kept/venv" || ! "$kept/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"; then
            rm -rf "$kept/venv"
            skip 'the clients could not be installed (python3-venv, pip): they were not tried'
            return 1
        fi
        cp "$here/requirements.txt" "$kept/venv/requirements.txt"
    fi
}

main "$@"
