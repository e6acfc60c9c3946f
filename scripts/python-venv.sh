#!/bin/sh
# Puts packages from PyPI into the tests' own environment, target/python-venv, and prints its path:
# python-venv.sh PACKAGE[==VERSION]...
# With all of them there it asks the network nothing.
# Exit status: 0 they are there, 3 pip cannot reach an index, so that a check may be skipped and say so, 1 anything else.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
venv=$(cd "$target" && pwd)/python-venv
# An environment is of the Python that made it.
python=$(python3 --version)
if [ "$(cat "$venv/python" 2>/dev/null)" != "$python" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    printf '%s\n' "$python" >"$venv/python"
    mkdir "$venv/has"
fi
missing=
for package in "$@"; do
    [ -e "$venv/has/$package" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # a list of packages
    if ! said=$("$venv/bin/pip" install --disable-pip-version-check --quiet $missing 2>&1); then
        printf '%s\n' "$said" >&2
        # No index is one thing, a broken package is another. Of well-known ones, no index has no version at all.
        case $said in
            *NewConnectionError* | *"Connection refused"* | *"name resolution"* | *ConnectTimeoutError* | *ProxyError* | \
                *"Network is unreachable"* | *"(from versions: none)"*)
                exit 3
                ;;
        esac
        exit 1
    fi
    for package in $missing; do
        : >"$venv/has/$package"
    done
fi
printf '%s\n' "$venv"
