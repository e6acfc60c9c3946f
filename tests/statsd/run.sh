#!/bin/sh
# Sends StatsD with the clients that people use, and the same datagrams to Headroom and to the real statsd_exporter.
#   run.sh [HEADROOM]       without an argument the debug binary is built
# The clients come from PyPI; statsd_exporter (prometheus-statsd-exporter) is taken from PATH. What is not there is SKIPPED, by
# name.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/statsd

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    binary=$(built "$root" "${1:-}")
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
    if python_with "$root" "$here/requirements.txt"; then
        check 'the clients statsd and datadog' "$python" "$here/senders.py" "$udp" "$page" "$work/statsd.sock"
    fi
    exporter=$(command -v statsd_exporter || command -v prometheus-statsd-exporter || :)
    if [ -z "$exporter" ]; then
        skip 'no statsd_exporter: nothing was compared with it'
    else
        start_headroom "$mapped_udp" "$mapped_page" "mapping_file: $here/mapping.yml"
        "$exporter" --web.listen-address="$their_page" --statsd.listen-udp="$their_udp" --statsd.listen-tcp= \
            --statsd.mapping-config="$here/mapping.yml" >"$work/exporter.log" 2>&1 &
        pids="$pids $!"
        ready "http://$their_page/metrics" "$work/exporter.log"
        check 'statsd_exporter shows the same' python3 -B "$here/compare.py" "$mapped_udp" "$mapped_page" "$their_udp" "$their_page"
    fi
    return "$failed"
}

start_headroom() {
    cat >"$work/headroom.yaml" <<END
exporter: {listen: '$2', page_age_max: 0s, collectors: {disable_defaults: true}}
applications: {statsd: {udp: '$1', $3}}
END
    "$binary" exporter --config "$work/headroom.yaml" >"$work/headroom.log" 2>&1 &
    pids="$pids $!"
    ready "http://$2/-/ready" "$work/headroom.log"
}

main "$@"
