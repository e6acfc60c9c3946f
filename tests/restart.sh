#!/bin/bash
# Restarts what leaks by the real systemd, the real Docker engine and the real Podman, through `headroom optimizer` and its webhook.
#   restart.sh [HEADROOM]     without an argument the debug binary is built
#
# All of it runs in name spaces of its own, and the manager of systemd, which is a user's, in a control group of its own: it can
# move no other process, and nothing is left behind. The engines' image is made from busybox.
# What is missing is SKIPPED, by name.
set -Eeuo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin
port=19378
group=headroom-restart-${HEADROOM_RESTART_OF:-$$}
passed=0
pids=()

main() {
    local program
    [ "$(id -u)" -eq 0 ] || skip "only root can start a manager and an engine"
    for program in curl python3 unshare; do
        command -v "$program" >/dev/null || skip "no $program"
    done
    unshare --mount --pid --fork true 2>/dev/null || skip "no name spaces may be made here"
    headroom=${1:-}
    if [ -z "${HEADROOM_RESTART_OF:-}" ]; then outside; else try; fi
}

# Builds, and starts this script again in name spaces; then removes the control groups that were made there.
outside() {
    local status=0
    if [ -z "$headroom" ]; then
        cargo build --quiet --locked --manifest-path "$repo/Cargo.toml"
        headroom=${CARGO_TARGET_DIR:-$repo/target}/debug/headroom
    fi
    HEADROOM_RESTART_OF=$$ unshare --mount --pid --fork --mount-proc --kill-child "$0" "$(realpath "$headroom")" || status=$?
    find /sys/fs/cgroup -maxdepth 2 -type d -name "$group" 2>/dev/null | while read -r dir; do
        find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    exit "$status"
}

try() {
    tmp=$(mktemp -d /tmp/headroom-restart.XXXXXX)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
    # Large at its first start, and small at each that follows: what a leak looks like.
    cat >"$tmp/service.sh" <<'END'
if mkdir "$1/again"; then held=$(head -c 104857600 /dev/zero | tr '\0' x); fi
echo ${#held} >"$1/held"
while :; do sleep 1; done
END
    start_systemd
    tree
    start_docker
    start_podman
    start_optimizer
    if [ -n "${manager:-}" ]; then
        check unit "systemd has restarted leak.service, and is healthy"
        mkdir "$tmp/unit/broken"
        check broken "the unit broken.service failed: " failed
    fi
    [ -z "${engine:-}" ] || check container "the container leak was restarted"
    [ -z "${pod_engine:-}" ] || check pod "the container leak was restarted"
    echo "$passed passed, 0 failed"
}

skip() {
    echo "SKIPPED: restarts were NOT tried: $*"
    exit 0
}

clean_up() {
    local status=$? pid
    trap - EXIT ERR
    [ "$status" -eq 0 ] || tail -n 20 "$tmp"/*.log || true
    [ -z "${engine:-}" ] || docker rm -f leak >/dev/null 2>&1 || true
    [ -z "${pod_engine:-}" ] || podman_here rm -f -t 0 leak >/dev/null 2>&1 || true
    # Whoever does not end now ends with the name space.
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    [ -z "${engine:-}" ] || wait "$engine" 2>/dev/null || true
    rm -rf "$tmp"
    exit "$status"
}

# wait_until WHAT SECONDS COMMAND...
wait_until() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "not in time: $what" >&2; return 1; }
        sleep 0.2
    done
}

start_systemd() {
    local systemd=/usr/lib/systemd/systemd
    [ -x "$systemd" ] || systemd=/lib/systemd/systemd
    if [ ! -x "$systemd" ]; then
        echo "SKIPPED: no systemd; units are not restarted"
        return
    fi
    # What says that systemd runs here, seen by nobody else.
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/system "$tmp/unit" "$tmp/run" "$tmp/home/.config/systemd/user"
    chmod 0700 "$tmp/run"
    for name in leak broken; do
        cat >"$tmp/home/.config/systemd/user/$name.service" <<END
[Service]
ExecStartPre=/usr/bin/test ! -e $tmp/unit/$name
ExecStart=/bin/sh $tmp/service.sh $tmp/unit-$name
END
        mkdir "$tmp/unit-$name"
    done
    # shellcheck disable=SC2016 # expanded by the inner shell
    sh -c '
        for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
            [ ! -e "$root/cgroup.procs" ] || { mkdir "$root/$3" && echo 0 >"$root/$3/cgroup.procs"; } || exit 1
        done
        HOME=$2/home XDG_RUNTIME_DIR=$2/run SYSTEMD_LOG_TARGET=console exec "$1" --user' \
        sh "$systemd" "$tmp" "$group" >"$tmp/systemd.log" 2>&1 &
    manager=$!
    pids+=("$manager")
    wait_until "systemd answers" 60 systemctl_user show-environment
    systemctl_user start leak.service broken.service
    wait_until "the units hold memory" 120 test -s "$tmp/unit-leak/held" -a -s "$tmp/unit-broken/held"
}

systemctl_user() {
    HOME=$tmp/home XDG_RUNTIME_DIR=$tmp/run systemctl --user "$@"
}

# What an image is made from.
tree() {
    local program
    mkdir -p "$tmp/tree/bin"
    command -v busybox >/dev/null || return 0
    cp "$(command -v busybox)" "$tmp/tree/bin/busybox"
    for program in sh mkdir head tr sleep; do ln -s busybox "$tmp/tree/bin/$program"; done
}

podman_here() {
    nsenter --mount --target "$pod_engine" podman --root "$tmp/podman" --runroot "$tmp/podman-run" --storage-driver vfs --cgroup-manager cgroupfs \
        --events-backend file --log-level error "$@"
}

# Without networks, and without control groups of its own: those of this machine are not to be touched.
start_podman() {
    local program
    for program in podman conmon crun nsenter busybox; do
        if ! command -v "$program" >/dev/null; then
            echo "SKIPPED: no $program; Podman's containers are not restarted"
            return
        fi
    done
    mkdir "$tmp/pod"
    cat >"$tmp/containers.conf" <<END
[engine]
tmp_dir = "$tmp/podman-tmp"
[containers]
cgroups = "disabled"
netns = "none"
END
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$tmp/policy.json"
    export CONTAINERS_CONF=$tmp/containers.conf
    # Where both versions of control groups are mounted, crun takes none of them.
    unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec sleep infinity' &
    pod_engine=$!
    pids+=("$pod_engine")
    podman_here system service --time 0 "unix://$tmp/podman.sock" >"$tmp/podman.log" 2>&1 &
    pids+=("$!")
    wait_until "Podman answers" 60 curl -sf --unix-socket "$tmp/podman.sock" http://localhost/_ping
    tar -C "$tmp/tree" -c . | podman_here import --signature-policy "$tmp/policy.json" - headroom-restart >/dev/null
    podman_here run -d --name leak --network none -v "$tmp:$tmp" headroom-restart \
        sh "$tmp/service.sh" "$tmp/pod" >/dev/null
    wait_until "Podman's container holds memory" 120 test -s "$tmp/pod/held"
}

start_docker() {
    local program
    for program in dockerd docker busybox; do
        if ! command -v "$program" >/dev/null; then
            echo "SKIPPED: no $program; containers are not restarted"
            return
        fi
    done
    export DOCKER_HOST=unix://$tmp/docker.sock
    # shellcheck disable=SC2016 # $0 is the inner shell's
    unshare --mount --net sh -c 'mount --make-rshared / && exec dockerd "$@"' dockerd \
        --iptables=false --ip6tables=false --bridge=none --data-root "$tmp/data" --exec-root "$tmp/exec" \
        --pidfile "$tmp/docker.pid" --host "$DOCKER_HOST" >"$tmp/dockerd.log" 2>&1 &
    engine=$!
    pids+=("$engine")
    wait_until "the engine answers" 60 docker version
    mkdir "$tmp/container"
    tar -C "$tmp/tree" -c . | docker import - headroom-restart >/dev/null
    docker run -d --name leak --network none -v "$tmp:$tmp" headroom-restart \
        sh "$tmp/service.sh" "$tmp/container" >/dev/null
    wait_until "the container holds memory" 120 test -s "$tmp/container/held"
}

start_optimizer() {
    echo let-me-in >"$tmp/token"
    cat >"$tmp/headroom.yaml" <<END
state_dir: $tmp/state
process_groups:
  - {name: unit, cmdline: ['service.sh $tmp/unit-leak'], memory_budget: 40MiB}
  - {name: broken, cmdline: ['service.sh $tmp/unit-broken'], memory_budget: 40MiB}
  - {name: container, cmdline: ['service.sh $tmp/container'], memory_budget: 40MiB}
  - {name: pod, cmdline: ['service.sh $tmp/pod'], memory_budget: 40MiB}
optimizer:
  listen: 127.0.0.1:$port
  token_file: $tmp/token
  guards: {cooldown: 0s, target_cooldown: 0s}
  policies:
    - {name: again, match: ['headroom_action="reclaim"'], target_label: groupname, ladder: [restart]}
  targets:
    - name: unit
      process_group: unit
      restart:
        systemd_unit: leak.service
        socket: $tmp/run/systemd/private
        health: {command: [/usr/bin/test, -s, $tmp/unit-leak/held], within: 20s}
    - {name: broken, process_group: broken, restart: {systemd_unit: broken.service, socket: $tmp/run/systemd/private}}
    - {name: container, process_group: container, restart: {docker: leak, socket: $tmp/docker.sock, grace: 1s}}
    - {name: pod, process_group: pod, restart: {podman: leak, socket: $tmp/podman.sock, grace: 1s}}
END
    "$headroom" optimizer --config "$tmp/headroom.yaml" >"$tmp/optimizer.log" 2>&1 &
    pids+=("$!")
    wait_until "the optimizer answers" 30 curl -sf "http://127.0.0.1:$port/-/healthy"
}

# check TARGET WORDS [STATE]: an alert leads to a step that says so, and by default frees a good part of 100 MiB: the rest is room
# for what others take meanwhile.
check() {
    local body
    body=$(python3 - "$1" <<'END'
import json, sys
alert = {"status": "firing", "fingerprint": sys.argv[1].encode().hex()[:16], "startsAt": "2026-01-01T00:00:00Z",
         "endsAt": "0001-01-01T00:00:00Z", "annotations": {}, "generatorURL": "",
         "labels": {"alertname": "Leak", "headroom_action": "reclaim", "groupname": sys.argv[1]}}
print(json.dumps({"version": "4", "status": "firing", "receiver": "x", "groupKey": "{}", "truncatedAlerts": 0,
    "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": [alert]}))
END
    )
    curl -sf -H "Authorization: Bearer let-me-in" -d "$body" "http://127.0.0.1:$port/api/v1/alerts" >/dev/null
    wait_until "the run on $1 ends as it should" 120 judge "$@"
    judge "$@"
    passed=$((passed + 1))
}

judge() {
    curl -sf -H "Authorization: Bearer let-me-in" "http://127.0.0.1:$port/api/v1/actions?limit=1" >"$tmp/entry.json"
    python3 - "$tmp/entry.json" "$@" <<'END'
import json, re, sys
[entry] = json.load(open(sys.argv[1]))["entries"]
target, words, verdict = sys.argv[2], sys.argv[3], (sys.argv[4:] or ["freed"])[0]
assert entry["state"] == "ended" and entry["target"] == target, entry
[step] = entry["steps"]
print(f"ok    {target}: {step['verdict']}, {step['freed_bytes'] >> 20} MiB: {step['detail']}")
assert words in step["detail"], step
less = re.search(r"the target holds ([0-9.]+) MiB less", step["detail"])
if verdict == "freed" and less and float(less[1]) > 60:
    print("      others have taken it in the same second: by the target's own memory")
elif verdict == "freed":
    assert step["verdict"] == "freed" and step["freed_bytes"] > 30 << 20, step
else:
    assert step["state"] == verdict, step
END
}

main "$@"
