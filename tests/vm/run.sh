#!/bin/sh
# Boots Debian's kernel 6.12 in an emulated machine with control groups of version 2 and lets the optimizer reclaim there:
#   run.sh [HEADROOM [GUEST]]        without an argument the debug binary is built
# Nothing is installed but qemu and small tools; the kernel is unpacked below target/vm and kept there. Where that cannot
# be had, it says SKIPPED and succeeds. GUEST is what runs inside, guest.sh if nothing else is said.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
what='control groups of version 2 in a virtual machine'
# shellcheck source=tests/vm/kernel.sh
. "$here/kernel.sh"
MODULES='lz4_compress lz4hc_compress zstd_compress zsmalloc zram virtio_blk'
SECONDS_MAX=480

main() {
    binary=${1:-}
    guest=${2:-guest.sh}
    [ "$(uname -m)" = x86_64 ] || skip 'only for x86_64'
    tools
    kernel
    if [ -z "$binary" ]; then
        cargo build --quiet --locked --manifest-path "$root/Cargo.toml"
        binary=$target/debug/headroom
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    initramfs
    boot
    verdict
}

initramfs() {
    tree=$work/tree
    mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp" "$tree/disk" "$tree/modules"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    # The symbols would be most of what the emulator has to load.
    strip -o "$tree/bin/headroom" "$binary"
    libraries "$binary" "$tree"
    for module in $MODULES; do module "$module" "$tree/modules"; done
    cp "$here/$guest" "$tree/guest.sh"
    printf '#!/bin/busybox sh\nexport MODULES="%s"\nexec /bin/busybox sh /guest.sh\n' "$MODULES" >"$tree/init"
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet) >"$work/initramfs"
    # Page cache that can be dropped needs a disk.
    truncate -s 768M "$work/disk"
    mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 "$work/disk"
}

# The second serial line carries the exporter's page out. Emulation, not KVM: it is the same everywhere, and where KVM is
# itself inside a virtual machine, this kernel may hang. It needs a processor that the emulator knows well, and clocks that
# it does not doubt.
boot() {
    echo "booting $(basename "$kernel")"
    timeout "$SECONDS_MAX" qemu-system-x86_64 -accel tcg,thread=multi -machine pc -cpu Nehalem -smp 2 -m 1024 \
        -nodefaults -nographic -no-reboot -serial stdio -serial "file:$work/page" \
        -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs" \
        -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
        -append 'console=ttyS0 quiet panic=-1 psi=1 mitigations=off nokaslr no_timer_check tsc=reliable audit=0' \
        </dev/null 2>&1 | tr -d '\r' | tee "$work/log" | sed -n 's/^.*GUEST: //p' || true
}

verdict() {
    if ! grep -q 'GUEST: end 0$' "$work/log"; then
        echo "the guest failed, or did not end in $SECONDS_MAX s; the end of what it said:" >&2
        tail -n 60 "$work/log" >&2
        exit 1
    fi
    # Only that one sends a page.
    [ "$guest" = guest.sh ] || return 0
    if ! command -v promtool >/dev/null; then
        echo 'SKIPPED: promtool is not installed: the page of version 2 is not checked by it' >&2
        return 0
    fi
    # Only our own names: those of node_exporter are not to promtool's taste.
    tr -d '\r' <"$work/page" | grep -E '^(# (HELP|TYPE) )?headroom_' >"$work/own"
    promtool check metrics <"$work/own" >"$work/said" 2>&1 || echo 'promtool is not content' >>"$work/said"
    if [ -s "$work/said" ]; then
        cat "$work/said" >&2
        exit 1
    fi
    echo "promtool has nothing to say about $(grep -cv '^#' "$work/own") samples of ours"
}

main "$@"
