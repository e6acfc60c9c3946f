#!/bin/sh
# Sends metrics with OpenTelemetry's own SDKs for Python and JavaScript, by gRPC and HTTP, and looks at what becomes of them on
# the page; receives with their messages what Headroom sends; and has a real Prometheus scrape native histograms.
#   run.sh [HEADROOM]       without an argument the debug binary is built
# The SDKs come from PyPI and npm; where neither they nor an index are there, that part is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/otlp
TOKEN=a-token-of-the-tests

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    binary=$(built "$root" "${1:-}")
    work=$(mktemp -d)
    pids=
    trap finish EXIT
    # Three ports that are free now.
    # shellcheck disable=SC2046 # three words
    set -- $(python3 -c '
import socket
all = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in all))')
    page=127.0.0.1:$1 grpc=127.0.0.1:$2 http=127.0.0.1:$3 prometheus=127.0.0.1:$4
    start_headroom
    if python_with "$root" "$here/requirements.txt"; then
        for way in grpc http; do
            for temporality in cumulative delta; do
                to=$grpc
                [ "$way" = grpc ] || to=http://$http
                check "Python: $way, $temporality: sent" "$python" "$here/client.py" "$way" "$to" "$temporality" "$TOKEN"
                check "Python: $way, $temporality: shown" python3 "$here/shown.py" "$page" py "tests/python-$way-$temporality"
            done
        done
        for way in grpc http/protobuf; do
            for temporality in cumulative delta; do
                check "Python as the receiver: $way, $temporality" "$python" "$here/receiver.py" "$binary" "$way" "$temporality"
            done
        done
        check 'Python: a wrong token is refused' refused "$python" "$here/client.py" grpc "$grpc" cumulative wrong
    fi
    if node_with "$root" "$here" client.mjs; then
        for way in grpc proto json; do
            for temporality in cumulative delta; do
                to=$http
                [ "$way" != grpc ] || to=$grpc
                check "JavaScript: $way, $temporality: sent" node "$node_at/client.mjs" "$way" "$to" "$temporality" "$TOKEN"
                check "JavaScript: $way, $temporality: shown" python3 "$here/shown.py" "$page" js "js-$way-$temporality"
            done
        done
    fi
    if ! command -v prometheus >/dev/null; then
        skip 'no prometheus: native histograms were not scraped'
    elif [ -n "$python" ]; then
        check 'Prometheus takes exponential histograms as native ones' native
    fi
    return "$failed"
}

start_headroom() {
    printf '%s\n' "$TOKEN" >"$work/token"
    cat >"$work/headroom.yaml" <<END
exporter: {listen: '$page', collectors: {disable_defaults: true}}
applications: {otlp: {grpc: '$grpc', http: '$http', token_file: token}}
END
    "$binary" exporter --config "$work/headroom.yaml" >"$work/headroom.log" 2>&1 &
    pids="$pids $!"
    ready "http://$page/-/ready" "$work/headroom.log"
}

# Whether a client says that it was not let in.
refused() {
    timeout 60 "$@" 2>&1 | grep UNAUTHENTICATED
}

native() {
    cat >"$work/prometheus.yml" <<END
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: headroom, honor_labels: true, static_configs: [{targets: ['$page']}]}
END
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="$prometheus" \
        --enable-feature=native-histograms >"$work/prometheus.log" 2>&1 &
    pids="$pids $!"
    python3 "$here/native.py" "$prometheus"
}

main "$@"
