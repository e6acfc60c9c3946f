# shellcheck shell=sh disable=SC2034 # what is set here, whoever sources it looks at
# What the shell tests share; they source it.

failed=0
# check NAME COMMAND…: ok or FAIL, and the end of what the command said if it failed.
check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok    $name"
    else
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

# ready URL LOG: waits until a server answers there; else shows its log and ends the test.
ready() {
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

# Ends what `pids` names and takes away the directory `work`: for `trap finish EXIT`.
finish() {
    for pid in ${pids:-}; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "${work:?}"
}

# python_with ROOT FILE: sets `python` to one that has the packages of the file. Without an index that is SKIPPED, by name.
python_with() {
    status=0
    # shellcheck disable=SC2046 # a list of packages
    python=$("$1/scripts/python-venv.sh" $(cat "$2"))/bin/python || status=$?
    [ "$status" -eq 0 ] || python=
    case $status in
        0) return 0 ;;
        3) skip "no index of Python packages: $(tr '\n' ' ' <"$2")were not tried" ;;
        *)
            failed=1
            echo "FAIL  the packages of $2"
            ;;
    esac
    return 1
}

# node_with ROOT DIRECTORY SCRIPT: sets `node_at` to a directory with the packages of DIRECTORY/package.json and the script, whose
# modules are looked for beside it; with a package-lock.json, those that it names. What is there already is not asked for again.
node_with() {
    node_at=${CARGO_TARGET_DIR:-$1/target}/node/$(basename "$2")
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        skip "no node or npm: $3 was not tried"
        return 1
    fi
    if ! cmp -s "$2/package.json" "$node_at/package.json"; then
        rm -rf "$node_at"
        mkdir -p "$node_at"
        cp "$2/package.json" "$node_at/package.json"
        how='install --no-package-lock'
        if [ -f "$2/package-lock.json" ]; then
            cp "$2/package-lock.json" "$node_at/package-lock.json"
            how=ci
        fi
        # shellcheck disable=SC2086 # two words
        if ! (cd "$node_at" && npm $how --silent --ignore-scripts --no-audit --no-fund); then
            rm -rf "$node_at"
            skip "packages could not be installed (npm): $3 was not tried"
            return 1
        fi
    fi
    cp "$2/$3" "$node_at/$3"
}
