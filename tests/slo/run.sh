#!/bin/sh
# The loop by a service's objective, on real parts: a Python service with OpenTelemetry's SDK and the hook of `headroom_kit`. Its
# p95 reaches Prometheus by way of Headroom's OTLP receiver, its error budget burns, the alert has the optimizer ask for memory,
# the cache is given back, and the p95 recovers.
#   run.sh [HEADROOM]       without an argument the debug binary is built
# Without Prometheus, Alertmanager or an index of Python packages it is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/slo

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    for server in prometheus prometheus-alertmanager; do
        if ! command -v "$server" >/dev/null; then
            skip "no $server: the loop by a service's objective was not tried"
            return 0
        fi
    done
    python_with "$root" "$root/tests/otlp/requirements.txt" || return "$failed"
    binary=$(built "$root" "${1:-}")
    work=$(mktemp -d)
    pids=
    trap finish EXIT
    # shellcheck disable=SC2046 # seven words
    set -- $(python3 -c '
import socket
all = [socket.create_server(("127.0.0.1", 0)) for _ in range(7)]
print(*(s.getsockname()[1] for s in all))')
    page=127.0.0.1:$1 otlp=127.0.0.1:$2 prometheus=127.0.0.1:$3 alertmanager=127.0.0.1:$4
    optimizer=127.0.0.1:$5 service=127.0.0.1:$6 hook=127.0.0.1:$7
    start_headroom
    printf 'open-sesame\n' >"$work/hook-token"
    PYTHONPATH=$root/clients/python/src PYTHONDONTWRITEBYTECODE=1 "$python" "$here/service.py" "$service" "$hook" \
        "$work/hook-token" "http://$otlp" >"$work/service.log" 2>&1 &
    pids="$pids $!"
    python3 "$here/loop.py" "$service" "$prometheus" "$optimizer" "$binary" "$work/headroom.yaml" || failed=1
    if [ "$failed" -ne 0 ]; then
        tail -n 40 "$work/headroom.log" "$work/service.log" >&2
    fi
    return "$failed"
}

start_headroom() {
    printf 'let-me-in\n' >"$work/token"
    # Whatever asks for memory here, it is the alert on the service's latency: no policy wants any other.
    cat >"$work/headroom.yaml" <<END
state_dir: $work/state
exporter: {listen: '$page'}
applications: {otlp: {http: '$otlp'}}
process_groups: [{name: shop, cmdline: ['slo/service.py $service'], memory_budget: 64MiB}]
services:
  - name: shop
    process_group: shop
    latency: {histogram: http_server_request_duration_seconds, match: ['job="shop"']}
    objectives: {p50: {target: 50ms}, p95: {target: 75ms}, p99: {target: 150ms}, throughput: {critical: 0}}
    labels: {headroom_action: reclaim, groupname: shop}
up: {interval: 1s, for_max: 2s, prometheus: {listen: '$prometheus'}, alertmanager: {listen: '$alertmanager'}}
optimizer:
  listen: $optimizer
  token_file: token
  policies:
    - {name: by-objective, match: ['alertname=~"ServiceLatency.*"'], target_label: groupname, ladder: [app_hook]}
  targets:
    - {name: shop, process_group: shop, hook: {url: 'http://$hook/headroom/reclaim', token_file: hook-token, timeout: 30s}}
END
    "$binary" up --config "$work/headroom.yaml" >"$work/headroom.log" 2>&1 &
    pids="$pids $!"
    ready "http://$prometheus/-/ready" "$work/headroom.log"
}

main "$@"
