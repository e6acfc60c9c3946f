#!/bin/sh
# Compiles and lints the program for macOS on Apple silicon, as far as that goes without a Mac: nothing is linked, nothing
# runs. Parts in C are not compiled: for a check their objects are never read, so they are made empty.
set -eu
cd "$(dirname "$0")/.."

TARGET=aarch64-apple-darwin

skip() {
    echo "SKIPPED: $1"
    exit 0
}

command -v rustup >/dev/null || skip "rustup is not installed, so the standard library for $TARGET cannot be had"
if ! rustup target list --installed | grep -qx "$TARGET"; then
    rustup target add "$TARGET" || skip "the standard library for $TARGET cannot be installed"
fi

# Cargo asks these crates anew when the paths change.
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/macos-tools
mkdir -p "$tools"
# Asked who it is, it answers as clang does; asked for an object, it makes an empty one.
cat >"$tools/cc" <<'END'
#!/bin/sh
for word in "$@"; do
    [ "$word" != -E ] || { echo 'clang'; exit 0; }
done
while [ $# -gt 0 ]; do
    [ "$1" != -o ] || : >"$2"
    shift
done
END
cat >"$tools/ar" <<'END'
#!/bin/sh
for word in "$@"; do
    case $word in *.a) : >"$word" ;; esac
done
END
chmod +x "$tools/cc" "$tools/ar"

CC_aarch64_apple_darwin=$tools/cc AR_aarch64_apple_darwin=$tools/ar \
    cargo clippy --locked --package headroom --package headroom-kit --lib --bins --target "$TARGET" -- -D warnings
