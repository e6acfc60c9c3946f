#!/bin/sh
# What runs inside the virtual machine, as its first process: control groups of version 2, the optimizer, and a record
# that is checked from inside. Lines that begin with `GUEST:` are shown outside; the last one says how it went.
# shellcheck disable=SC2154 # MODULES comes from /init
/bin/busybox --install -s /bin
export PATH=/bin
GROUPS_AT=/sys/fs/cgroup
API=http://127.0.0.1:9178/api/v1
MIB=1048576
failed=0

main() {
    machine
    groups
    trace_writes
    start
    without_swap
    files_alone
    swap_on
    compressible
    incompressible
    protected
    late
    squeezed
    changed
    exporter
    as_another_user
    swap_off
    [ "$failed" -eq 0 ] || tail -n 40 /tmp/optimizer.log
    echo "GUEST: end $failed"
    sync
    poweroff -f
}

machine() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    mount -t cgroup2 groups $GROUPS_AT
    mount -t tracefs trace /sys/kernel/tracing
    for module in $MODULES; do [ ! -e "/modules/$module.ko" ] || insmod "/modules/$module.ko"; done
    ip link set lo up
    mount /dev/vda /disk
    echo "GUEST: kernel $(uname -r), up for $(cut -d ' ' -f 1 /proc/uptime) s"
}

start() {
    headroom optimizer --config /tmp/headroom.yaml >>/tmp/optimizer.log 2>&1 &
    optimizer=$!
    answers
}

answers() {
    until wget -qO /dev/null http://127.0.0.1:9178/-/healthy 2>/dev/null; do sleep 0.1; done
}

# One group a case, each a target with a budget of next to nothing.
groups() {
    echo '+memory +pids +cpu +io' >$GROUPS_AT/cgroup.subtree_control
    targets=
    for name in mixed files compressible incompressible protected late squeezed changed owned denied prepared undone; do
        mkdir "$GROUPS_AT/$name"
        targets="$targets
  - {name: $name, cgroup: /$name, memory_budget: 1MiB}"
    done
    echo let-me-in >/tmp/token
    cat >/tmp/headroom.yaml <<END
state_dir: /tmp/state
optimizer:
  token_file: token
  guards: {cooldown: 0s, target_cooldown: 0s, min_gain: 16MiB}
  settle: 1s
  policies:
  - {name: brake, match: ['groupname=~"squeezed|changed"'], target_label: groupname,
     ladder: [{action: squeeze, with: {lease: 1m, floor: 8MiB}}]}
  - {name: files, match: ['groupname="files"'], target_label: groupname,
     ladder: [{action: cgroup_reclaim, with: {file_only: true}}]}
  - {name: swap, match: ['groupname="prepared"'], target_label: groupname,
     ladder: [{action: swap_on_zram, with: {size_ratio: 0.42, algorithm: lz4}}]}
  - {name: swapless, match: ['groupname="undone"'], target_label: groupname,
     ladder: [{action: swap_on_zram, with: {undo: true}}]}
  - {name: late, match: ['groupname="late"'], target_label: groupname,
     ladder: [{action: cgroup_reclaim, with: {deadline: 1ms}}]}
  - {name: kernel, match: ['headroom_action="reclaim"'], target_label: groupname, ladder: [cgroup_reclaim]}
  targets:$targets
END
}

# The kernel itself notes what the thread for writes writes, and what the kernel answers.
trace_writes() {
    cd /sys/kernel/tracing || return
    echo 'COMM == "kernel-write"' >events/syscalls/sys_enter_write/filter
    echo 'COMM == "kernel-write"' >events/syscalls/sys_exit_write/filter
    echo 1 >events/syscalls/sys_enter_write/enable
    echo 1 >events/syscalls/sys_exit_write/enable
    cd /
}

# hold NAME MIB COMMAND...: a process in the group with what the command prints as its anonymous memory. It waits for
# ever to give it to a pipe that nobody reads.
hold() {
    group=$1
    mib=$2
    shift 2
    mkfifo "/tmp/$group"
    (
        echo 0 >"$GROUPS_AT/$group/cgroup.procs"
        exec 9<>"/tmp/$group"
        "$@" | dd bs="${mib}M" count=1 iflag=fullblock of="/tmp/$group" 2>/dev/null
    ) &
    for _ in $(seq 100); do
        [ "$(awk '$1 == "anon" { print $2 }' "$GROUPS_AT/$group/memory.stat")" -lt $((mib * MIB)) ] || return 0
        sleep 0.2
    done
    check "a process in $group holds $mib MiB" false
}

words() {
    yes 'give back what is not needed'
}

current() {
    cat "$GROUPS_AT/$1/memory.current"
}

# reclaim NAME: an alert about the group, and its entry in the record once the run has ended, one key a line.
reclaim() {
    cat >/tmp/alert <<END
{"version": "4", "status": "firing", "receiver": "r", "groupKey": "{}", "truncatedAlerts": 0, "groupLabels": {},
"commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://x", "alerts": [{"status": "firing",
"fingerprint": "ab", "generatorURL": "http://x", "annotations": {}, "startsAt": "2026-11-21T04:28:00Z",
"endsAt": "0001-01-01T00:00:00Z", "labels": {"alertname": "CgroupMemoryHigh", "headroom_action": "reclaim",
"groupname": "$1", "instance": "127.0.0.1:9177"}}]}
END
    # Episodes differ by their fingerprint: the name's bytes in hexadecimal.
    sed -i "s/\"ab\"/\"$(printf %s "$1" | od -An -tx1 | tr -d ' \n')\"/" /tmp/alert
    echo >/sys/kernel/tracing/trace
    wget -qO /dev/null --header 'Authorization: Bearer let-me-in' --header 'Content-Type: application/json' \
        --post-file /tmp/alert "$API/alerts" || check "$1: the webhook answers" false
    for _ in $(seq 100); do
        wget -qO - --header 'Authorization: Bearer let-me-in' "$API/actions?limit=1&target=$1" |
            sed 's/,"/,\n"/g' >/tmp/entry
        ! grep -q '"state":"ended"' /tmp/entry || break
        sleep 0.2
    done
    echo "GUEST: $1: $(sed -n 's/^"detail"://p' /tmp/entry)"
}

# check WHAT COMMAND...
check() {
    what=$1
    shift
    if "$@"; then
        echo "GUEST: ok: $what"
    else
        echo "GUEST: FAILED: $what ($*)"
        cat /tmp/entry
        failed=1
    fi
}

# says KEY VALUE: the entry has a line with this key and a value that begins so.
says() {
    grep -q "^\"$1\":$2" /tmp/entry
}

detail_has() {
    sed -n 's/^"detail"://p' /tmp/entry | grep -q "$1"
}

freed_mib() {
    bytes=$(sed -n 's/^"freed_bytes":\([0-9]*\).*/\1/p' /tmp/entry | head -n 1)
    echo $((${bytes:-0} / MIB))
}

# Writes to memory.reclaim of 4 to 16 MiB: by their length (`16777216 swappiness=0` has 21 bytes), and those with EAGAIN.
writes() {
    grep -c 'sys_write(.*count: \(15\|14\|8\|7\))' /sys/kernel/tracing/trace
}

files_first() {
    grep -c 'sys_write(.*count: \(15\|14\))' /sys/kernel/tracing/trace
}

eagain() {
    grep -c 'sys_write -> 0xfffffffffffffff5' /sys/kernel/tracing/trace
}

# File and anonymous memory, and no swap: the file part goes in chunks, and then the kernel has no more.
without_swap() {
    # Other people's page cache. Without it the kernel's estimate holds back half of ours, up to its low watermark (some
    # 60 MiB here), as not available; taking it would then truly raise MemAvailable, by that estimate.
    dd if=/dev/zero of=/disk/others bs=1M count=250 conv=fsync 2>/dev/null
    (
        echo 0 >"$GROUPS_AT/mixed/cgroup.procs"
        dd if=/dev/zero of=/disk/file bs=1M count=120 conv=fsync 2>/dev/null
    )
    hold mixed 60 words
    before=$(current mixed)
    reclaim mixed
    fell=$(((before - $(current mixed)) / MIB))
    check 'without swap the group gives its page cache' [ "$fell" -ge 100 ]
    check '... and its anonymous memory stays' [ "$(current mixed)" -ge $((60 * MIB)) ]
    check '... in chunks of at most 16 MiB' [ "$(writes)" -ge $((fell / 17)) ]
    check '... of files first' [ "$(files_first)" -ge $((fell / 17)) ]
    check '... the kernel had less to give than asked (EAGAIN)' [ "$(eagain)" -ge 1 ]
    check '... which is progress and no failure' says state '"done"'
    check '... and no gain: page cache was available anyway' says verdict '"no_gain"'
}

# Where only files may be taken, the kernel is asked for nothing else.
files_alone() {
    (
        echo 0 >"$GROUPS_AT/files/cgroup.procs"
        dd if=/dev/zero of=/disk/more bs=1M count=60 conv=fsync 2>/dev/null
    )
    hold files 40 words
    reclaim files
    check 'where only files may be taken they go' [ "$(current files)" -le $((50 * MIB)) ]
    check '... and nothing else is asked for' [ "$(writes)" -eq "$(files_first)" ]
}

# The optimizer itself makes the swap that the cases below use.
swap_on() {
    hold prepared 20 words
    reclaim prepared
    check 'swap is made where there is none' says verdict '"applied"'
    check '... on a device of its own' grep -q '^/dev/zram1 ' /proc/swaps
    check '... with the algorithm that was asked for' grep -q '\[lz4\]' /sys/block/zram1/comp_algorithm
}

# It is taken away when somebody says so, if what it holds has room.
swap_off() {
    for name in compressible incompressible protected late squeezed changed owned; do
        echo 1 >"$GROUPS_AT/$name/cgroup.kill"
    done
    sleep 1
    hold undone 20 words
    reclaim undone
    check 'swap is taken away again' says verdict '"applied"'
    check '... and nothing of it is left' [ "$(grep -c zram /proc/swaps)" -eq 0 ]
    check '... nor its device' [ ! -e /sys/block/zram1 ]
    check '... nor another one touched' [ -e /sys/block/zram0 ]
}

compressible() {
    hold compressible 150 words
    before=$(current compressible)
    reclaim compressible
    check 'memory that compresses is freed' says verdict '"freed"'
    check '... all but a little of it' [ "$(freed_mib)" -ge 110 ]
    check '... and never more than the group lost' [ "$(freed_mib)" -le $(((before - $(current compressible)) / MIB)) ]
    check '... by several writes' [ "$(writes)" -ge 8 ]
    check '... in an effective run' says result '"effective"'
}

incompressible() {
    hold incompressible 100 cat /dev/urandom
    reclaim incompressible
    check 'memory that does not compress is no gain' says verdict '"no_gain"'
    check '... found out after a part' detail_has 'stopped: '
    check '... so that most stays where it is' [ "$(current incompressible)" -ge $((50 * MIB)) ]
    check '... and nothing counts as freed' [ "$(freed_mib)" -eq 0 ]
}

protected() {
    hold protected 120 words
    echo 80M >"$GROUPS_AT/protected/memory.low"
    echo 40M >"$GROUPS_AT/protected/memory.min"
    reclaim protected
    check 'what memory.low promises stays' [ "$(current protected)" -ge $((78 * MIB)) ]
    check '... and what is above it goes' [ "$(current protected)" -le $((90 * MIB)) ]
    check '... and is freed' says verdict '"freed"'
}

metric() {
    wget -qO - http://127.0.0.1:9178/metrics | sed -n "s/^headroom_optimizer_$1 //p"
}

# A write that takes longer than it may is left alone, and the run goes on.
late() {
    hold late 60 words
    reclaim late
    check 'a write that is late is left to end by itself' detail_has 'left to end by itself'
    check '... and the run measured and ended' says state '"ended"'
    sleep 1
    check '... and it is counted' [ "$(metric kernel_writes_late_total)" -ge 1 ]
    check '... and has returned meanwhile' [ "$(metric kernel_writes_blocked)" -eq 0 ]
}

high() {
    cat "$GROUPS_AT/$1/memory.high"
}

# A brake does not outlive the one that watches over it, whatever ends it.
squeezed() {
    hold squeezed 60 words
    before=$(current squeezed)
    reclaim squeezed
    check 'a brake is applied' says verdict '"applied"'
    check '... a tenth below what the group held' [ "$(high squeezed)" -ge $((before * 9 / 10)) ]
    check '... and not above it' [ "$(high squeezed)" -lt "$before" ]
    check '... and stands' [ "$(metric effects_standing)" -eq 1 ]
    kill -9 "$optimizer"
    wait "$optimizer"
    check '... though the optimizer was killed' [ "$(high squeezed)" != max ]
    begun=$(date +%s)
    start
    for _ in $(seq 100); do
        [ "$(high squeezed)" != max ] || break
        sleep 0.1
    done
    took=$(($(date +%s) - begun))
    check '... and is gone after its next start' [ "$(high squeezed)" = max ]
    check "... within 5 s ($took s)" [ "$took" -le 5 ]
}

changed() {
    hold changed 60 words
    reclaim changed
    check 'another brake is applied' says verdict '"applied"'
    echo 80M >"$GROUPS_AT/changed/memory.high"
    kill "$optimizer"
    wait "$optimizer"
    check '... and what somebody else has set meanwhile stays' [ "$(high changed)" -eq $((80 * MIB)) ]
    start
}

# One file that is the user's own is all that it takes.
as_another_user() {
    kill "$optimizer"
    wait "$optimizer"
    mkdir /tmp/users
    echo let-me-in >/tmp/users/token
    sed 's:/tmp/state:/tmp/users/state:' /tmp/headroom.yaml >/tmp/users/headroom.yaml
    chown -R 1000:1000 /tmp/users
    mkdir -p /etc
    echo 'user:x:1000:1000::/:/bin/sh' >/etc/passwd
    echo 'user:x:1000:' >/etc/group
    chown 1000 "$GROUPS_AT/owned/memory.reclaim"
    start-stop-daemon -S -c user:user -x /bin/sh -- -c \
        'headroom optimizer --config /tmp/users/headroom.yaml >/tmp/users/log 2>&1 &'
    answers
    pid=$(pidof headroom | tr ' ' '\n' | while read -r p; do grep -q '^Uid:.1000' "/proc/$p/status" && echo "$p"; done)
    check 'an optimizer runs as another user' [ -n "$pid" ]
    check '... without any capability' grep -q '^CapEff:.0000000000000000' "/proc/$pid/status"
    hold denied 50 words
    reclaim denied
    check '... it is told what it lacks' grep -q 'no right to write .*/denied/memory.reclaim: .chown. this one file' /tmp/entry
    hold owned 80 words
    reclaim owned
    check '... and reclaims where that file is its own' says verdict '"freed"'
    [ "$failed" -eq 0 ] || tail -n 20 /tmp/users/log
    kill "$pid"
    while [ -e "/proc/$pid" ]; do sleep 0.1; done
    start
}

exporter() {
    headroom exporter --collector.containers >/tmp/exporter.log 2>&1 &
    until wget -qO /tmp/page http://127.0.0.1:9177/metrics 2>/dev/null; do sleep 0.2; done
    for family in current anon file swap reclaimable; do
        check "the page has headroom_cgroup_memory_${family}_bytes of the group" \
            grep -q "^headroom_cgroup_memory_${family}_bytes{cgroup=\"/compressible\"} " /tmp/page
    done
    check '... its events' grep -q '^headroom_cgroup_memory_events_total{cgroup="/protected"' /tmp/page
    check '... its pressure' grep -q '^headroom_cgroup_memory_pressure.*{cgroup="/protected".*} ' /tmp/page
    for family in memory_usage_bytes memory_working_set_bytes spec_memory_limit_bytes memory_failures_total \
        cpu_usage_seconds_total oom_events_total processes threads start_time_seconds fs_reads_total \
        pressure_memory_waiting_seconds_total; do
        check "... under cAdvisor's name container_$family" \
            grep -q "^container_$family{id=\"/compressible\"," /tmp/page
    done
    check "... of the root, whose usage the kernel does not tell" \
        grep -q '^container_memory_usage_bytes{id="/",name=""} [1-9]' /tmp/page
    stty raw -F /dev/ttyS1
    cat /tmp/page >/dev/ttyS1
}

main
