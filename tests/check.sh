# shellcheck shell=sh
# What the shell tests share; they source it.

failed=0
# check NAME COMMAND…: ok or FAIL, and the end of what the command said if it failed.
check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok    $name"
    else
        # shellcheck disable=SC2034 # whoever sources this ends with it
        failed=1
        echo "FAIL  $name"
        printf '%s\n' "$said" | tail -n 20 | sed 's/^/        /'
    fi
}

skip() {
    echo "SKIPPED: $*" >&2
}

# built ROOT [HEADROOM]: the path of the program; without one the debug binary is built.
built() {
    if [ -n "${2:-}" ]; then
        realpath "$2"
    else
        cargo build --quiet --locked --manifest-path "$1/Cargo.toml" >&2
        realpath "${CARGO_TARGET_DIR:-$1/target}/debug/headroom"
    fi
}
