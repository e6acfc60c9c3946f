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
    # Before anything else runs: an emulated processor can meet the kernel's code half patched.
    trace_writes
    growing
    start
    without_swap
    files_alone
    swap_on
    compressible
    incompressible
    protected
    stalled
    proactive
    brakes
    whole_group
    late
    squeezed
    changed
    exporter
    outlook
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
    for name in mixed files compressible incompressible protected late squeezed changed owned denied prepared undone stalled proactive; do
        mkdir "$GROUPS_AT/$name"
        targets="$targets
  - {name: $name, cgroup: /$name, memory_budget: 1MiB}"
    done
    mkdir "$GROUPS_AT/batch" "$GROUPS_AT/leak"
    echo let-me-in >/tmp/token
    cat >/tmp/headroom.yaml <<END
state_dir: /tmp/state
optimizer:
  token_file: token
  guards: {cooldown: 0s, target_cooldown: 0s, min_gain: 16MiB, allow_kill: true, blast_radius: {targets: 0}}
  settle: 1s
  policies:
  - name: batch
    match: ['groupname="batch"']
    target: batch
    ladder: [{action: freeze, with: {lease: 2m}}, {action: renice, with: {cpu_weight: 20, lease: 2m}}]
  - name: leak
    match: ['groupname="leak"']
    target: leak
    ladder: [{action: kill, with: {grace: 0s, observe: 500ms}}]
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
  pressure:
    rules:
    - {name: stalls, cgroup: /stalled, stall: 20ms, window: 1s, calm: 1s, bytes: 16MiB, target: stalled, ladder: [cgroup_reclaim]}
  proactive:
  - {target: proactive, interval: 1s, floor: 8MiB}
  targets:$targets
  - {name: batch, cgroup: /batch, memory_budget: 1MiB, batch: true}
  - {name: leak, cgroup: /leak, memory_budget: 1MiB}
END
}

# A group that takes 256 KiB a second up to its limit of 64 MiB, and pages of it every 11 s.
growing() {
    mkdir $GROUPS_AT/above $GROUPS_AT/above/growing /grow
    echo '+memory' >$GROUPS_AT/above/cgroup.subtree_control
    echo 64M >$GROUPS_AT/above/memory.max
    mount -t tmpfs grow /grow
    (
        echo 0 >$GROUPS_AT/above/growing/cgroup.procs
        while dd if=/dev/zero bs=256k count=1 2>/dev/null >>/grow/file; do sleep 1; done
    ) &
    headroom exporter --collector.containers >/tmp/exporter.log 2>&1 &
    (
        for page in $(seq 9); do
            until wget -qO "/tmp/part" http://127.0.0.1:9177/metrics 2>/dev/null; do sleep 0.2; done
            cut -d . -f 1 /proc/uptime >"/tmp/at.$page"
            mv /tmp/part "/tmp/outlook.$page"
            sleep 11
        done
    ) &
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
    echo "GUEST: $1: $(sed -n 's/^"\(detail\|reason\)"://p' /tmp/entry | tr '\n' ' ')"
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
    # A little above the budget may stay where it is, and then the ladder's end comes first.
    check '... in a run that says so' says result '"e\(ffective\|xhausted\)"'
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

# entry TARGET: its newest entry in the record, one key a line.
entry() {
    wget -qO - --header 'Authorization: Bearer let-me-in' "$API/actions?limit=1&target=$1" | sed 's/,"/,\n"/g' >/tmp/entry
}

# Readers of more page cache than the group may have wait for memory: no alert is needed.
stalled() {
    echo 40M >"$GROUPS_AT/stalled/memory.max"
    (
        echo 0 >"$GROUPS_AT/stalled/cgroup.procs"
        dd if=/dev/zero of=/disk/large bs=1M count=90 2>/dev/null
        for _ in 1 2 3; do
            (while [ ! -e /tmp/enough ]; do cat /disk/large >/dev/null; done) &
        done
        wait
    ) &
    for _ in $(seq 100); do
        entry stalled
        ! grep -q '"state":"ended"' /tmp/entry || break
        sleep 0.2
    done
    touch /tmp/enough
    wait $!
    echo "GUEST: stalled: $(sed -n 's/^"detail"://p' /tmp/entry); $(head -n 1 "$GROUPS_AT/stalled/memory.pressure")"
    check 'a stall in a group makes a run by itself' says origin '"pressure"'
    check '... that reclaims from the group' says action '"cgroup_reclaim"'
    check '... and took something' detail_has 'reclaimed [0-9.]* MiB of'
    metrics
    check '... soon' [ "$(value headroom_optimizer_reaction_seconds_count)" -ge 1 ]
    for _ in $(seq 50); do
        entry stalled
        says resolved_at_millis '[0-9]' && break
        sleep 0.2
    done
    check '... and the episode ends with the stall' says resolved_at_millis '[0-9]'
    rm /disk/large
}

metrics() {
    wget -qO /tmp/metrics http://127.0.0.1:9178/metrics
}

# value SERIES: whole, as a shell wants it.
value() {
    awk -v series="$1" '$1 == series { printf "%d", $2; found = 1 } END { if (!found) printf "0" }' /tmp/metrics
}

# A part of the group's page cache is read again and again, the rest never. The rest goes; the part stays, and shows.
proactive() {
    (
        echo 0 >"$GROUPS_AT/proactive/cgroup.procs"
        dd if=/dev/zero of=/disk/cold bs=1M count=15 2>/dev/null
        dd if=/dev/zero of=/disk/hot bs=1M count=40 2>/dev/null
        sync
        while [ ! -e /tmp/known ]; do cat /disk/hot >/dev/null; sleep 0.3; done
    ) &
    for _ in $(seq 150); do
        metrics
        [ "$(value 'headroom_optimizer_working_set_bytes{target="proactive"}')" -eq 0 ] || break
        sleep 0.4
    done
    touch /tmp/known
    needs=$(value 'headroom_optimizer_working_set_bytes{target="proactive"}')
    steps=$(value 'headroom_optimizer_proactive_steps_total{result="reclaimed",target="proactive"}')
    entry proactive
    echo "GUEST: proactive: of 55 MiB $((needs / MIB)) are needed, after $steps steps"
    check 'the working set of a group becomes known' [ "$needs" -gt 0 ]
    check '... which is what is in use' [ "$needs" -ge $((38 * MIB)) ]
    check '... and not what is not' [ "$needs" -le $((50 * MIB)) ]
    taken=$(value 'headroom_optimizer_proactive_reclaimed_bytes_total{target="proactive"}')
    check '... which went' [ "$taken" -ge $((4 * MIB)) ]
    check '... by small steps' [ "$steps" -ge 4 ]
    check '... that the record has as one phase' says action '"proactive"'
    check '... whose intent was written before' says state '"acting"'
    check '... and that count as nothing freed' [ "$(freed_mib)" -eq 0 ]
}

# A batch group stands still and gets less of the processors, until the alert resolves.
brakes() {
    hold batch 20 words
    reclaim batch
    check 'a batch group stands still' grep -q 'frozen 1' $GROUPS_AT/batch/cgroup.events
    check '... and gets less of the processors' [ "$(cat $GROUPS_AT/batch/cpu.weight)" -eq 20 ]
    sed -i 's/"firing"/"resolved"/; s/0001-01-01T00:00:00Z/2026-11-21T05:00:00Z/' /tmp/alert
    wget -qO /dev/null --header 'Authorization: Bearer let-me-in' --header 'Content-Type: application/json' \
        --post-file /tmp/alert "$API/alerts" || check "batch: the webhook answers" false
    for _ in $(seq 50); do
        [ "$(cat $GROUPS_AT/batch/cpu.weight)" -ne 100 ] || ! grep -q 'frozen 0' $GROUPS_AT/batch/cgroup.events || break
        sleep 0.2
    done
    check '... until the alert is resolved' grep -q 'frozen 0' $GROUPS_AT/batch/cgroup.events
    check '... and then all is as before' [ "$(cat $GROUPS_AT/batch/cpu.weight)" -eq 100 ]
}

# What the kernel itself would end as one thing ends as one: a process that grows, and one beside it.
whole_group() {
    echo 1 >$GROUPS_AT/leak/memory.oom.group
    hold leak 60 words
    (
        echo 0 >"$GROUPS_AT/leak/cgroup.procs"
        while head -c 1000000 /dev/zero; do sleep 0.05; done | tail -n 1 >/dev/null
    ) &
    for _ in $(seq 100); do
        [ "$(current leak)" -lt $((90 * MIB)) ] || break
        sleep 0.2
    done
    reclaim leak
    check 'a group with memory.oom.group ends as one' [ -z "$(cat $GROUPS_AT/leak/cgroup.procs)" ]
    check '... by SIGKILL to all of it' detail_has 'leak with [0-9]* processes ended by SIGKILL'
    check '... and its memory is freed' says verdict '"freed"'
    check '... most of it' [ "$(freed_mib)" -ge 60 ]
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
    reclaim squeezed
    check 'a brake is applied' says verdict '"applied"'
    # By the record: what a group holds differs a little from one moment to the next.
    held=$(grep -o '"current_bytes":[0-9]*' /tmp/entry | head -n 1 | cut -d : -f 2)
    check '... to what the group held' [ "${held:-0}" -ge $((60 * MIB)) ]
    check '... a tenth below it at most' [ "$(high squeezed)" -ge $((held * 9 / 10)) ]
    check '... and not above it' [ "$(high squeezed)" -lt "${held:-0}" ]
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
    until wget -qO /tmp/page http://127.0.0.1:9177/metrics 2>/dev/null; do sleep 0.2; done
    for family in current anon file swap reclaimable; do
        check "the page has headroom_cgroup_memory_${family}_bytes of the group" \
            grep -q "^headroom_cgroup_memory_${family}_bytes{cgroup=\"/compressible\"} " /tmp/page
    done
    for family in available_bytes working_set_bytes scanned_pages_total reclaimed_pages_total; do
        check "... headroom_cgroup_memory_$family" \
            grep -q "^headroom_cgroup_memory_${family}{cgroup=\"/compressible\"} [1-9]" /tmp/page
    done
    check '... what it needed again' grep -q '^headroom_cgroup_memory_refaults_total{cgroup="/compressible",kind="anon"} ' \
        /tmp/page
    check '... and what the collector cost' \
        grep -q '^headroom_collector_syscalls_total{collector="cgroup"} [1-9]' /tmp/page
    check '... its events' grep -q '^headroom_cgroup_memory_events_total{cgroup="/protected"' /tmp/page
    check '... its pressure' grep -q '^headroom_cgroup_memory_pressure.*{cgroup="/protected".*} ' /tmp/page
    for family in memory_usage_bytes memory_working_set_bytes spec_memory_limit_bytes memory_failures_total \
        cpu_usage_seconds_total oom_events_total processes threads start_time_seconds fs_reads_total \
        pressure_memory_waiting_seconds_total memory_pgscan_total memory_workingset_refault_anon_total \
        memory_events_high_total memory_file_dirty_bytes; do
        check "... under cAdvisor's name container_$family" \
            grep -q "^container_$family{id=\"/compressible\"," /tmp/page
    done
    check "... of the root, whose usage the kernel does not tell" \
        grep -q '^container_memory_usage_bytes{id="/",name=""} [1-9]' /tmp/page
    stty raw -F /dev/ttyS1
    cat /tmp/page >/dev/ttyS1
}

# outlook_of FAMILY PAGE: what the page says of the group that grows.
outlook_of() {
    sed -n "s/^headroom_cgroup_memory_$1{cgroup=\"\/above\/growing\"} \([0-9]*\).*/\1/p" "/tmp/outlook.$2"
}

# The limit is that of the group above; what is left and the time until then fall from page to page.
outlook() {
    for _ in $(seq 120); do
        [ ! -e /tmp/outlook.9 ] || break
        sleep 1
    done
    check 'of a group that grows, the first page tells no time' [ -z "$(outlook_of time_to_limit_seconds 1)" ]
    sixth=$(outlook_of time_to_limit_seconds 6)
    ninth=$(outlook_of time_to_limit_seconds 9)
    # At the pace between these pages; an emulated machine's seconds are of any length.
    left=$(outlook_of available_bytes 9)
    passed=$(($(cat /tmp/at.9) - $(cat /tmp/at.6)))
    left=$((left / (($(outlook_of available_bytes 6) - left) / passed + 1)))
    echo "GUEST: growing: $sixth s to its limit, $passed s later $ninth s; at this pace it is $left s"
    check '... six tell the time to the limit of the group above' [ "${sixth:-0}" -gt 0 ]
    check '... which falls as time passes' [ "${ninth:-0}" -lt "${sixth:-0}" ]
    check '... and is what it will take at this pace, within a half' \
        [ "${ninth:-0}" -ge $((left / 2)) -a "${ninth:-0}" -le $((left * 3 / 2)) ]
}

main
