#!/bin/sh
# Runs each fuzz target for a short while: fuzz.sh [TARGET...]
# FUZZ_SECONDS says how long each (20). What was found stays in fuzz/corpus and fuzz/artifacts, which git does not take.
# Ends with 1 after a finding, and says where its input is and how to try it again.
set -eu
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-20}
root=$(pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main() {
    # Without a sanitizer it needs no other compiler than the program; its code has no `unsafe` where the parsers are.
    # Sums that overflow are findings: cargo-fuzz switches on the checks of a debug build.
    cargo fuzz build --sanitizer none
    found=0
    # shellcheck disable=SC2046 # one word each
    [ $# -gt 0 ] || set -- $(cargo fuzz list)
    for target; do
        run "$target" || found=1
    done
    return $found
}

# run TARGET
run() {
    corpus=$root/fuzz/corpus/$1
    mkdir -p "$corpus"
    echo "fuzz: $1, $seconds s"
    # The recorded hosts are the texts to begin with, but for the target whose input is not a text.
    if [ "$1" = tree ]; then
        set -- "$1" "$corpus" -- -max_len=64
    else
        set -- "$1" "$corpus" "$root/tests/host" "$root/tests/golden" "$root/fuzz/seeds" -- -max_len=16384
    fi
    if TMPDIR=$scratch cargo fuzz run --sanitizer none "$@" "-max_total_time=$seconds" -timeout=20 -rss_limit_mb=2048 \
        >"$scratch/log" 2>&1; then
        sed -n 's/^Done /fuzz:   /p' "$scratch/log"
        return 0
    fi
    input=$(sed -n 's/.*Test unit written to //p' "$scratch/log" | head -n1)
    grep -A4 -e 'panicked at' -e '^==[0-9]*== ERROR' "$scratch/log" | cut -c1-2000 || tail -n 20 "$scratch/log"
    if [ -z "$input" ]; then
        echo "fuzz: $1 could not be run" >&2
        exit 2
    fi
    echo "fuzz: FOUND by $1: $input" >&2
    echo "fuzz: to see it again: cargo fuzz run --sanitizer none $1 $input" >&2
    return 1
}

main "$@"
