#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the laboratory's machines: it mounts the disk, on which everything else is, and lets the program
# play there. What it prints is read outside.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do [ ! -e "$module" ] || insmod "$module"; done
mount /dev/vda /disk
cd /disk || exit
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mount -t cgroup2 groups sys/fs/cgroup
mount -t tmpfs -o size=64m tmp tmp
ip link set lo up
# The words are those of the kernel's command line behind `lab=`, with commas.
words=$(sed -n 's/.*lab=\([^ ]*\).*/\1/p' /proc/cmdline | tr ',' ' ')
tells=$(sed -n 's/.*lab_tells=\([^ ]*\).*/\1/p' /proc/cmdline)
echo "RESULT up $(cut -d ' ' -f 1 /proc/uptime)"
# shellcheck disable=SC2086 # one word each
chroot /disk /bin/busybox env PATH=/usr/sbin:/usr/bin:/bin LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu \
    ${tells:+LAB_TELLS=1} /bin/lab guest $words
echo "RESULT end $?"
sync
poweroff -f
