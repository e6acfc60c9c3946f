#!/bin/sh
# Boots Debian's kernel 6.12 in an emulated machine with control groups of version 2 and lets the optimizer reclaim there:
#   run.sh [HEADROOM]        without an argument the debug binary is built
# Nothing is installed but qemu and small tools; the kernel is unpacked below target/vm and kept there. Where that cannot
# be had, it says SKIPPED and succeeds. guest.sh is what runs inside.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/vm
# By far the newest of the two is wanted: 6.11 brought `swappiness=` to memory.reclaim.
KERNELS='linux-image-6.12-cloud-amd64 linux-image-cloud-amd64'
MODULES='lz4_compress lz4hc_compress zstd_compress zsmalloc zram virtio_blk'
SECONDS_MAX=200
PATH=$PATH:/usr/sbin:/sbin

main() {
    binary=${1:-}
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

skip() {
    echo "SKIPPED: control groups of version 2 in a virtual machine: $*" >&2
    exit 0
}

# Installs what is missing: nothing of it is a service.
tools() {
    packages=
    for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio xz:xz-utils mkfs.ext4:e2fsprogs \
        strip:binutils; do
        command -v "${pair%%:*}" >/dev/null || packages="$packages ${pair#*:}"
    done
    # The emulator's firmware comes in a package of its own, which is only recommended.
    [ -e /usr/share/seabios/bios-256k.bin ] || packages="$packages seabios"
    # A busybox that needs libraries does not run alone.
    if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
        packages="$packages busybox-static"
    fi
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || skip "missing, and no apt here:$packages"
    echo "installing:$packages"
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null ||
        { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends $packages >/dev/null; } ||
        skip "cannot install$packages"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Finds the kernel in the cache, or downloads and unpacks it there; nothing is installed.
kernel() {
    kernel=$(find "$cache" -maxdepth 1 -name 'linux-image-*' -type d 2>/dev/null | sort | tail -n 1)
    [ -z "$kernel" ] || return 0
    command -v apt-get >/dev/null || skip 'no apt to get the kernel from'
    package=$(kernel_package)
    if [ -z "$package" ]; then
        as_root apt-get update -qq || true
        package=$(kernel_package)
    fi
    [ -n "$package" ] || skip 'no kernel of 6.11 or later in the package lists'
    echo "unpacking $package below $cache"
    rm -rf "$cache/part"
    mkdir -p "$cache/part"
    (cd "$cache/part" && apt-get download -qq "$package" 2>/dev/null) || skip "cannot download $package"
    dpkg-deb -x "$cache/part/$package"_*.deb "$cache/part/root"
    # The move comes last: what was cut short is not taken for a kernel.
    mv "$cache/part/root" "$cache/$package"
    rm -rf "$cache/part"
    kernel=$cache/$package
}

kernel_package() {
    for name in $KERNELS; do
        package=$(apt-cache depends "$name" 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }')
        case $package in
            linux-image-6.1[1-9].* | linux-image-6.[2-9][0-9].* | linux-image-[7-9].*)
                echo "$package"
                return 0
                ;;
        esac
    done
}

initramfs() {
    tree=$work/tree
    mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp" "$tree/disk" "$tree/modules"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    # The symbols would be most of what the emulator has to load.
    strip -o "$tree/bin/headroom" "$binary"
    ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$tree$(dirname "$library")"
        cp "$library" "$tree$library"
    done
    for module in $MODULES; do
        file=$(find "$kernel/lib/modules" -name "$module.ko*" | head -n 1)
        case $file in
            '') ;; # built in
            *.xz) xz -dc "$file" >"$tree/modules/$module.ko" ;;
            *.zst) zstd -dcq "$file" >"$tree/modules/$module.ko" ;;
            *) cp "$file" "$tree/modules/" ;;
        esac
    done
    cp "$here/guest.sh" "$tree/guest.sh"
    printf '#!/bin/busybox sh\nexport MODULES="%s"\nexec /bin/busybox sh /guest.sh\n' "$MODULES" >"$tree/init"
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet) >"$work/initramfs"
    # Page cache that can be dropped needs a disk.
    truncate -s 512M "$work/disk"
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
