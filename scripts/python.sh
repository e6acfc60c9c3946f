#!/bin/sh
# Checks clients/python in a virtual environment of its own (target/python-venv): form, types, tests, and the package as
# pip installs it. Skipped, and saying so, only where pip cannot reach an index.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
venv=$(cd "$target" && pwd)/python-venv
tools='pytest mypy ruff opentelemetry-sdk setuptools>=75'
# What was installed, and by which Python; made anew when either changes.
want="$(python3 --version) $tools"
if [ "$(cat "$venv/made" 2>/dev/null)" != "$want" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086 # a list of packages
    if ! said=$("$venv/bin/pip" install --disable-pip-version-check --quiet $tools 2>&1); then
        printf '%s\n' "$said"
        # No index is one thing, a broken package is another. Of well-known ones, no index has no version at all.
        case $said in
            *"NewConnectionError"* | *"Connection refused"* | *"Temporary failure in name resolution"* | \
                *"ConnectTimeoutError"* | *"ProxyError"* | *"Network is unreachable"* | \
                *"(from versions: none)"*)
                rm -rf "$venv"
                echo "SKIPPED: clients/python was NOT checked, for pip cannot reach an index"
                exit 0
                ;;
        esac
        exit 1
    fi
    printf '%s\n' "$want" >"$venv/made"
fi
bin=$venv/bin
export PYTHONDONTWRITEBYTECODE=1

cd clients/python
"$bin/ruff" check --no-cache src tests examples
"$bin/ruff" format --no-cache --check src tests examples
"$bin/mypy" --cache-dir "$venv/mypy-cache"
"$bin/pytest" -q

# What pip makes of it, seen from elsewhere: importable, and typed for others.
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
# A build writes into its source.
cp -R pyproject.toml README.md src "$built/"
"$bin/pip" install --disable-pip-version-check --quiet --no-build-isolation --no-deps --force-reinstall "$built"
cat >"$built/app.py" <<'END'
import headroom_kit as kit

cache: kit.Cache[str, bytes] = kit.Cache("c", max_bytes=1 << 20)
cache["a"] = b"x" * 1000
released: int = kit.default.reclaim(1, "high").released_bytes
assert released >= 1000, released
assert "site-packages" in kit.__file__, kit.__file__
END
cd "$built"
"$bin/python" app.py
"$bin/mypy" --cache-dir "$venv/mypy-cache" --strict app.py
"$bin/pip" uninstall --quiet --yes headroom-kit
