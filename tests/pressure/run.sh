#!/bin/sh
# The pressure laboratory: small virtual machines in which memory runs short, with nothing against it, with other tools,
# and with Headroom; the table of what came of it, and which targets were met:
#   run.sh HEADROOM [REPETITIONS]
# TOOLS and SCENARIOS choose some of them; TELLS=1 shows logs and record. One machine plays all scenarios for one tool, so a
# tool and a repetition is one boot. Nothing is installed but qemu and small tools; peers are unpacked below target/pressure.
# Ends with 1 if a target is missed. Where machines cannot be had, it says SKIPPED and succeeds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
what='the pressure laboratory'
# shellcheck source=tests/vm/kernel.sh
. "$here/../vm/kernel.sh"
# What Headroom is configured with is an example that anybody may copy.
LADDER=$root/deploy/ladders/small-machine.yaml
MEMORY_MIB=768
# With memory to spare: as good as it gets.
ROOM_MIB=2560
PEERS='earlyoom oomd libjsoncpp25 nohang'
SECONDS_MAX=600
MODULES='virtio_blk lz4_compress lz4hc_compress zstd_compress zsmalloc zram'

main() {
    binary=$1
    repetitions=${2:-3}
    [ "$(uname -m)" = x86_64 ] || skip 'only for x86_64'
    begun=$(date +%s)
    tools
    kernel
    peers
    # It stays, so that a run that is stopped is not lost: `lab table FILE` reads it.
    results=$target/pressure/results
    mkdir -p "$target/pressure"
    : >"$results"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    program
    disk
    initramfs
    machine=0
    machines=$(($(echo "$chosen" | wc -w) * repetitions))
    echo "$machines machines; all is ready after $(($(date +%s) - begun)) s"
    for repetition in $(seq "$repetitions"); do
        for tool in $chosen; do
            machine=$((machine + 1))
            echo "$(($(date +%s) - begun)) s: machine $machine of $machines: $tool, repetition $repetition"
            play "$tool" "$repetition"
        done
    done
    echo "all machines have ended after $(($(date +%s) - begun)) s"
    # shellcheck disable=SC2086 # one word each
    "$work/lab" table "$results" ${SCENARIOS:-}
}

# Finds out which tools there are to compare with.
peers() {
    store=$target/pressure/peers
    chosen='room nothing'
    for peer in $PEERS; do
        if [ ! -d "$store/$peer" ]; then
            mkdir -p "$store/part"
            if (cd "$store/part" && apt-get download -qq "$peer" >/dev/null 2>&1) &&
                dpkg-deb -x "$store/part/$peer"_*.deb "$store/part/root"; then
                mv "$store/part/root" "$store/$peer"
            else
                echo "SKIPPED: $peer cannot be had" >&2
            fi
            rm -rf "$store/part"
        fi
        case $peer in
            lib*) continue ;;
            nohang) [ -x /usr/bin/python3 ] || { echo "SKIPPED: nohang wants Debian's python3" >&2 && continue; } ;;
        esac
        [ ! -d "$store/$peer" ] || chosen="$chosen $peer"
    done
    echo 'systemd-oomd is not among them: it takes its orders from systemd as the first process'
    chosen=${TOOLS:-$chosen headroom}
}

# Without dependencies, so the compiler alone will do.
program() {
    rustc --edition 2024 -C opt-level=2 -o "$work/lab" "$root/benches/pressure/main.rs"
}

# One disk for all machines; what they write is thrown away. The file that is larger than a machine must have contents.
disk() {
    tree=$work/disk.d
    for directory in bin usr/bin usr/sbin etc data proc sys dev tmp var/lib; do mkdir -p "$tree/$directory"; done
    cp "$(command -v busybox)" "$tree/bin/"
    for name in sh env; do ln -s busybox "$tree/bin/$name"; done
    strip -o "$tree/bin/headroom" "$binary"
    cp "$work/lab" "$tree/bin/lab"
    cp "$LADDER" "$tree/etc/headroom.yaml"
    cp "$here/oomd.json" "$tree/etc/"
    for peer in $PEERS; do
        [ ! -d "$store/$peer" ] || cp -a "$store/$peer/usr" "$store/$peer/etc" "$tree/" 2>/dev/null || true
    done
    interpreter
    # An interpreter's own modules want libraries, too.
    for program in "$tree"/bin/* "$tree"/usr/bin/* "$tree"/usr/sbin/* "$tree"/usr/lib/python3*/lib-dynload/*.so; do
        # What it finds in the peers' own directories is there already.
        LD_LIBRARY_PATH=$tree/usr/lib/x86_64-linux-gnu ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | grep -v "^$tree" |
            while read -r library; do
                mkdir -p "$tree$(dirname "$library")"
                cp -n "$library" "$tree$library"
            done
    done
    yes 'a line that a hog reads' | head -c 40M >"$tree/data/small"
    yes 'a line that a hog reads' | head -c 1G >"$tree/data/big"
    truncate -s 2G "$work/disk"
    mkfs.ext4 -q -O ^has_journal -d "$tree" "$work/disk"
    rm -rf "$tree"
}

# Debian's Python, whatever else is first on the path, with the part of its library that a small program wants.
interpreter() {
    case " $chosen " in *' nohang '*) ;; *) return 0 ;; esac
    python=$(realpath /usr/bin/python3)
    library=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
    cp "$python" "$tree/usr/bin/python3"
    mkdir -p "$tree$library"
    (cd "$library" && tar -c --exclude=test --exclude=__pycache__ --exclude=dist-packages --exclude=site-packages .) |
        tar -x -C "$tree$library"
}

initramfs() {
    first=$work/first
    mkdir -p "$first/bin" "$first/proc" "$first/dev" "$first/disk" "$first/modules"
    cp "$(command -v busybox)" "$first/bin/"
    # They are loaded in the order of their names: what one wants comes before it.
    number=10
    for name in $MODULES; do
        module "$name" "$first/modules"
        [ ! -e "$first/modules/$name.ko" ] || mv "$first/modules/$name.ko" "$first/modules/$number-$name.ko"
        number=$((number + 1))
    done
    cp "$here/init.sh" "$first/init"
    chmod +x "$first/init"
    (cd "$first" && find . | cpio -o -H newc --quiet) >"$work/initramfs"
}

# play TOOL REPETITION: one machine. Emulation, not KVM: it is the same everywhere.
play() {
    words=$1,$2
    memory=$MEMORY_MIB
    [ "$1" != room ] || memory=$ROOM_MIB
    [ -z "${SCENARIOS:-}" ] || words=$words,$(echo "$SCENARIOS" | tr ' ' ',')
    timeout "$SECONDS_MAX" qemu-system-x86_64 -accel tcg,thread=multi -machine pc -cpu Nehalem -smp 2 -m $memory \
        -nodefaults -nographic -no-reboot -serial stdio -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs" \
        -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe,snapshot=on" \
        -append "console=ttyS0 quiet panic=-1 psi=1 mitigations=off nokaslr no_timer_check tsc=reliable audit=0 lab=$words \
${TELLS:+lab_tells=1}" </dev/null 2>&1 | sed -u 's,\r,,g' | tee "$work/log" |
        sed -un 's/^.*RESULT tool=/RESULT tool=/p' | tee -a "$results" |
        while read -r _ line; do echo "$(($(date +%s) - begun)) s: $line"; done || true
    [ -z "${TELLS:-}" ] || cat "$work/log"
    if ! grep -q 'RESULT end 0' "$work/log"; then
        echo "the machine of $1 did not come to its end; the last that it said:" >&2
        tail -n 20 "$work/log" >&2
    fi
}

main "$@"
