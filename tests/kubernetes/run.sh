#!/bin/sh
# Validates deploy/kubernetes against the published schemas of Kubernetes and of the Prometheus Operator.
#   run.sh [HEADROOM]       without an argument the debug binary is built
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/kubernetes

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    binary=$(built "$root" "${1:-}")
    work=$(mktemp -d)
    trap finish EXIT
    if python_with "$root" "$here/requirements.txt"; then
        check "Kubernetes's schemas, and that the objects belong together" objects
        if node_with "$root" "$here" operator.mjs; then
            check "the Prometheus Operator's schemas" operator
        fi
    fi
    return "$failed"
}

objects() {
    "$python" -B "$here/validate.py" "$root/deploy/kubernetes" "$binary" >"$work/operator.jsonl"
}

operator() {
    (cd "$node_at" && node operator.mjs <"$work/operator.jsonl")
}

main "$@"
