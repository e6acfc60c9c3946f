#!/bin/sh
# Checks clients/python in a virtual environment (target/python-venv): form, types, tests, and the package as
# pip installs it. Skipped, and saying so, only where pip cannot reach an index.
set -eu
cd "$(dirname "$0")/.."

# The environment is shared with other checks.
said=0
venv=$(scripts/python-venv.sh pytest mypy ruff opentelemetry-sdk 'setuptools>=75') || said=$?
case $said in
    0) ;;
    3)
        echo "SKIPPED: clients/python was NOT checked, for pip cannot reach an index"
        exit 0
        ;;
    *) exit 1 ;;
esac
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
