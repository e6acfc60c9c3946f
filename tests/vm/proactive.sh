#!/bin/sh
# What runs inside the virtual machine, as its first process: a group of which a quarter is needed, kept at a small pressure by the
# proactive mode, and what that costs the group: pages that were taken and read in again, and time that its tasks wait.
# Lines that begin with `GUEST:` are shown outside; the last one says how it went.
/bin/busybox --install -s /bin
export PATH=/bin
GROUP=/sys/fs/cgroup/service
MIB=1048576
PAGE=4096
COLD_MIB=120
HOT_MIB=40
# So long, after it is known what the group needs: what is tried then is what a group pays for good.
KNOWN_SECONDS=60
# The aims: of what was taken so much may come back, and so much time may be waited, in millionths.
REFAULT_MAX=10000
STALL_MAX=1000
failed=0

main() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    mount -t cgroup2 groups /sys/fs/cgroup
    insmod /modules/virtio_blk.ko 2>/dev/null
    ip link set lo up
    mount /dev/vda /disk
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control
    mkdir $GROUP
    configure
    headroom optimizer --config /tmp/headroom.yaml >/tmp/optimizer.log 2>&1 &
    until wget -qO /dev/null http://127.0.0.1:9178/-/healthy 2>/dev/null; do sleep 0.2; done
    service
    known
    judge
    [ "$failed" -eq 0 ] || tail -n 20 /tmp/optimizer.log
    echo "GUEST: end $failed"
    sync
    poweroff -f
}

configure() {
    cat >/tmp/headroom.yaml <<END
state_dir: /tmp/state
optimizer:
  proactive:
  - {target: service, interval: 1s, floor: 8MiB}
  targets:
  - {name: service, cgroup: /service}
END
}

# It has written and read much, and goes on reading a part.
service() {
    (
        echo 0 >$GROUP/cgroup.procs
        dd if=/dev/zero of=/disk/cold bs=1M count=$COLD_MIB 2>/dev/null
        dd if=/dev/zero of=/disk/hot bs=1M count=$HOT_MIB 2>/dev/null
        sync
        cat /disk/hot /disk/hot >/dev/null
        touch /tmp/serves
        while :; do
            cat /disk/hot >/dev/null
            sleep 0.3
        done
    ) &
    until [ -e /tmp/serves ]; do sleep 0.2; done
    begun=$(cut -d . -f 1 /proc/uptime)
    refaulted_before=$(refaulted)
    waited_before=$(waited)
}

# Until it is known what the group needs, and for some time after that.
known() {
    for _ in $(seq 400); do
        needs=$(metric 'headroom_optimizer_working_set_bytes{target="service"}')
        [ "$needs" -eq 0 ] || break
        sleep 0.5
    done
    found=$(($(cut -d . -f 1 /proc/uptime) - begun))
    sleep $KNOWN_SECONDS
}

judge() {
    seconds=$(($(cut -d . -f 1 /proc/uptime) - begun))
    needs=$(metric 'headroom_optimizer_working_set_bytes{target="service"}')
    taken=$(metric 'headroom_optimizer_proactive_reclaimed_bytes_total{target="service"}')
    steps=$(metric 'headroom_optimizer_proactive_steps_total{result="reclaimed",target="service"}')
    offs=$(metric 'headroom_optimizer_proactive_steps_total{result="backed_off",target="service"}')
    back=$((($(refaulted) - refaulted_before) * PAGE))
    stalled=$(($(waited) - waited_before))
    echo "GUEST: of $((COLD_MIB + HOT_MIB)) MiB $((needs / MIB)) are needed: known after $found s, and looked at for $seconds s"
    echo "GUEST: $((taken / MIB)) MiB taken in $steps steps, $((back / 1024)) KiB of it read in again, $offs back-offs"
    [ "$taken" -gt 0 ] || taken=1
    aim 'of what was taken was read in again, in millionths' $((back * 1000 / (taken / 1000 + 1))) $REFAULT_MAX
    aim 'of the time its tasks waited, in millionths' $((stalled / seconds)) $STALL_MAX
    # Without these the two above would be met by doing nothing.
    aim 'MiB too many of what it needs' $((needs / MIB > HOT_MIB ? needs / MIB - HOT_MIB : HOT_MIB - needs / MIB)) 6
    # Some of it had gone before, to make room for the rest.
    aim 'MiB not taken of what it does not need' $((COLD_MIB - taken / MIB)) 30
}

# aim WHAT VALUE MOST
aim() {
    if [ "$2" -le "$3" ]; then met=met; else met=MISSED failed=1; fi
    echo "GUEST: $2 $1 (aim: at most $3): $met"
}

metric() {
    wget -qO /tmp/metrics http://127.0.0.1:9178/metrics 2>/dev/null || true
    value=$(grep -F "$1 " /tmp/metrics | sed 's/.* //')
    awk -v value="${value:-0}" 'BEGIN { printf "%d", value }'
}

refaulted() {
    awk '$1 == "workingset_refault_file" || $1 == "workingset_refault_anon" { sum += $2 } END { print sum + 0 }' $GROUP/memory.stat
}

waited() {
    sed -n 's/^some .*total=//p' $GROUP/memory.pressure
}

main
