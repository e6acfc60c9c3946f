#!/bin/sh
# Opens the live page of a running `headroom up` in a real Chromium, and does there what a person does.
#   run.sh [HEADROOM]       without an argument the debug binary is built
# Pictures of it come into target/page; manual.png is the one of the manual, before its colours are counted down.
# Playwright and axe come from npm, Chromium is Debian's (CHROMIUM names another); what is not there is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/page

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    binary=$(built "$root" "${1:-}")
    chromium=${CHROMIUM:-$(command -v chromium || :)}
    if [ -z "$chromium" ]; then
        skip 'no chromium: the live page was not opened'
        return 0
    fi
    if ! node -e 'process.exit(Number(parseInt(process.versions.node) < 20))' 2>/dev/null; then
        skip 'no node from 20 on: the live page was not opened'
        return 0
    fi
    node_with "$root" "$here" page.test.mjs || return "$failed"
    cp "$here"/*.mjs "$node_at/"
    work=$(mktemp -d)
    trap 'pids=$(cat "$work"/*.pid 2>/dev/null || :); finish' EXIT
    trap 'exit 130' INT TERM
    # Ports that are free now.
    # shellcheck disable=SC2046 # four words
    set -- $(python3 -c '
import socket
all = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in all))')
    echo write-token-of-the-tests >"$work/write-token"
    echo read-token-of-the-tests >"$work/read-token"
    chmod 600 "$work"/*-token
    ln -s "$binary" "$work/demo-cache"
    configure "$@"
    pictures=${CARGO_TARGET_DIR:-$root/target}/page
    mkdir -p "$pictures"
    status=0
    HEADROOM=$binary WORK=$work PAGE=http://127.0.0.1:$1 APP=127.0.0.1:$4 CHROMIUM=$chromium PICTURES=$pictures \
        node --test --test-reporter=spec "$node_at/page.test.mjs" || status=1
    [ "$status" -eq 0 ] || tail -n 20 "$work"/*.log >&2 || :
    return "$status"
}

# configure PAGE MONITOR OPTIMIZER APP: a machine without Prometheus, with a cache that is over its budget when it is started, and
# with a process whose name is markup.
configure() {
    cat >"$work/headroom.yaml" <<END
state_dir: $work/state
process_groups:
  - {name: demo-cache, comm: [demo-cache], cmdline: ['--listen 127.0.0.1:$4( |$)'], memory_budget: 120MiB}
  - {name: '{{.Matches.Name}}', cmdline: ['^(?P<Name><img src=x onerror=alert\(1\)>)']}
  - {name: '{{.Comm}}', cmdline: ['.']}
exporter: {listen: '127.0.0.1:$1'}
up:
  interval: 1s
  for_max: 3s
  prometheus: {enabled: false, listen: '127.0.0.1:$2'}
  alertmanager: {enabled: false}
monitor: {enabled: true}
optimizer:
  listen: 127.0.0.1:$3
  token_file: $work/write-token
  read_token_file: $work/read-token
  # What others do on this machine meanwhile is not to decide what is tried.
  guards: {cooldown: 0s, target_cooldown: 0s, min_gain: 1MiB, breaker: {tries: 0}}
  targets:
    - {name: demo-cache, process_group: demo-cache, hook: {url: 'http://127.0.0.1:$4/headroom/reclaim', timeout: 10s}}
END
}

main "$@"
