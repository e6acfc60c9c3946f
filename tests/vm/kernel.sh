#!/bin/sh
# What every virtual machine of this repository needs: small tools, and a kernel that is unpacked below target/vm and kept
# there. For `.`; the caller sets `what`, which is said where it cannot be had, and gets `kernel`, its directory.
# shellcheck disable=SC2154 # set by who reads this
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/vm
# By far the newest of the two is wanted: 6.11 brought `swappiness=` to memory.reclaim.
KERNELS='linux-image-6.12-cloud-amd64 linux-image-cloud-amd64'
PATH=$PATH:/usr/sbin:/sbin

skip() {
    echo "SKIPPED: $what: $*" >&2
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

# module NAME DIRECTORY: puts a module of that kernel there, if it is not built in.
module() {
    file=$(find "$kernel/lib/modules" -name "$1.ko*" | head -n 1)
    case $file in
        '') ;; # built in
        *.xz) xz -dc "$file" >"$2/$1.ko" ;;
        *.zst) zstd -dcq "$file" >"$2/$1.ko" ;;
        *) cp "$file" "$2/" ;;
    esac
}

# libraries PROGRAM TREE: puts the libraries that it wants where it finds them.
libraries() {
    ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$2$(dirname "$library")"
        cp "$library" "$2$library"
    done
}
