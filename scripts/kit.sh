#!/bin/sh
# Checks the crate for applications (kit/): its tests, with each allocator; and that who links `headroom::kit` compiles nothing
# of the program.
set -eu
cd "$(dirname "$0")/.."

cargo test --locked --quiet -p headroom-kit
cargo clippy --locked -p headroom-kit --no-default-features -- -D warnings
cargo clippy --locked -p headroom-kit --all-features --all-targets -- -D warnings
cargo test --locked --quiet -p headroom-kit --features jemalloc-profile --test jemalloc
cargo test --locked --quiet -p headroom-kit --features mimalloc --test mimalloc

# As an application has it.
cargo check --locked --lib --no-default-features --features kit
brought=$(cargo tree --locked --no-default-features --features kit --edges normal --prefix none --format '{p}' | cut -d ' ' -f 1 | sort -u)
for needed in headroom-kit moka deadpool prometheus; do
    printf '%s\n' "$brought" | grep -qx "$needed" || {
        echo "the feature \`kit\` lacks $needed" >&2
        exit 1
    }
done
for heavy in rusqlite rustls ring clap opentelemetry prost serde-saphyr zstd tracing-subscriber tikv-jemallocator libmimalloc-sys; do
    if printf '%s\n' "$brought" | grep -qx "$heavy"; then
        echo "who links \`headroom::kit\` gets $heavy" >&2
        exit 1
    fi
done
echo "headroom::kit brings $(printf '%s\n' "$brought" | wc -l) crates along"
