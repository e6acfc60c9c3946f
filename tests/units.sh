#!/bin/sh
# Checks the units of systemd without systemd at work: that it understands them, that their protections are as tight as they
# were, and that the program does all of its work with the rights and the system calls that they leave it.
#   units.sh [HEADROOM]       without an argument the debug binary is built
# Needs systemd-analyze, strace, setpriv, curl, python3 and root; what is missing is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# Exposure as `systemd-analyze security` counts it, in tenths; less is better.
EXPOSURE_MAX=28
PORT=19177

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    binary=$(built "$root" "${1:-}")
    if ! command -v systemd-analyze >/dev/null; then
        skip 'no systemd-analyze (package systemd): the units are not checked'
        return 0
    fi
    # A copy in which the program is where it was built: systemd looks whether it is there.
    cp "$root"/deploy/systemd/*.service "$root"/deploy/systemd/*.socket "$work/"
    sed -i "s,^ExecStart=/usr/bin/headroom,ExecStart=$binary," "$work"/*.service
    for unit in "$work"/*.service; do
        check "${unit##*/}: systemd understands it" understood "$unit"
        check "${unit##*/}: exposure" tight "$unit"
    done
    for unit in "$work"/*.socket; do
        check "${unit##*/}: systemd understands it" understood "$unit"
    done
    check 'the drop-ins for capabilities are understood, and the default is no looser' drop_ins
    if [ "$(id -u)" -ne 0 ] || ! command -v strace >/dev/null || ! command -v setpriv >/dev/null; then
        skip 'no root, strace or setpriv: the program was not run with the rights of its units'
        return "$failed"
    fi
    chmod 0755 "$work"
    install -m 0755 "$binary" "$work/headroom"
    unit=$root/deploy/systemd/headroom-exporter.service
    check 'the exporter works with the rights of its unit' exporter
    check 'the exporter needs no system call that its unit forbids' allowed "$unit" "$work/exporter.trace"
    unit=$root/deploy/systemd/headroom-optimizer.service
    check 'the optimizer starts with the rights of its unit' optimizer
    check 'the optimizer needs no system call that its unit forbids' allowed "$unit" "$work/optimizer.trace"
    # With what its own drop-in adds, for a ladder of its own.
    cat "$root/deploy/systemd/headroom-optimizer.service" "$work/pageout.conf" >"$work/with-pageout"
    unit=$work/with-pageout
    check 'the optimizer starts with the rights of its drop-in' optimizer
    check 'the optimizer needs no system call that its drop-in forbids' allowed "$unit" "$work/optimizer.trace"
    return "$failed"
}

# systemd-analyze succeeds with warnings, which unknown or misspelt settings are.
understood() {
    said=$(systemd-analyze verify --man=no --recursive-errors=no "$1" 2>&1) && [ -z "$said" ] && return 0
    printf '%s\n' "$said"
    return 1
}

tight() {
    if ! systemd-analyze security --offline=yes --threshold=$EXPOSURE_MAX --no-pager "$1" >"$work/score" 2>&1; then
        grep -e 'Overall' -e '✗' "$work/score" || cat "$work/score"
        return 1
    fi
}

# drop_in LADDER: what the program prints for it
drop_in() {
    printf 'optimizer: {policies: [{name: p, match: ["a=b"], target_label: t, ladder: [%s]}]}\n' "$1" >"$work/ladder.yaml"
    "$binary" optimizer --config="$work/ladder.yaml" --print-capabilities=systemd
}

# Each action's drop-in, and that of all together.
drop_ins() {
    dir=$work/headroom-optimizer.service.d
    mkdir -p "$dir"
    drop_in pageout >"$work/pageout.conf"
    all=$("$binary" actions list | sed 's/[ :].*//' | paste -sd , -)
    status=0
    for ladder in $(echo "$all" | tr , ' ') "$all"; do
        drop_in "$ladder" >"$dir/capabilities.conf" || status=1
        understood "$work/headroom-optimizer.service" || status=1
        # The drop-in replaces and does not add: what one asks for is what there is.
        case $ladder in
        app_hook)
            grep -q '^[A-Z].*CAP_' "$dir/capabilities.conf" && { echo 'app_hook has capabilities'; status=1; }
            tight "$work/headroom-optimizer.service" || status=1
            ;;
        esac
    done
    rm -r "$dir"
    return "$status"
}

# value UNIT KEY: the last value of a setting
value() {
    sed -n "s/^$2=//p" "$1" | tail -n 1
}

# confined TRACE COMMAND…: runs it as nobody with the capabilities of $unit and nothing else, and notes its system calls
confined() {
    trace=$1
    shift
    chown nobody "$work"
    # CAP_SYS_PTRACE CAP_SYS_NICE -> ,+sys_ptrace,+sys_nice; nothing for none
    caps=$(value "$unit" AmbientCapabilities | tr "[:upper:]" "[:lower:]" | sed "s/cap_/,+/g; s/ //g")
    strace -f -qq -o "$trace" -e signal=none setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs \
        --bounding-set="-all$caps" --inh-caps="-all$caps" --ambient-caps="-all$caps" "$@" &
    pid=$!
}

ended() {
    # strace hands the signal on to what it runs and ends with it.
    pkill -TERM -P "$pid" || true
    wait "$pid" || true
}

# served URL: waits for a page, for the start is slow under strace
served() {
    for _ in $(seq 100); do
        if curl -fsS --max-time 20 -o "$work/page" "$1" 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    echo "$1 was never served"
    return 1
}

exporter() {
    confined "$work/exporter.trace" "$work/headroom" exporter --web.listen-address="127.0.0.1:$PORT" --collector.containers
    status=0
    served "http://127.0.0.1:$PORT/metrics" || status=1
    served "http://127.0.0.1:$PORT/metrics" || status=1
    ended
    [ "$status" -eq 0 ] || return 1
    # Of root's process that watches it: what only the capabilities show.
    grep -q '^namedprocess_namegroup_open_filedesc{groupname="strace"} [1-9]' "$work/page" ||
        { echo 'no open files of a process of root'; return 1; }
    # A collector that has nothing here has nothing for root either.
    "$work/headroom" exporter --web.listen-address="127.0.0.1:$PORT" --collector.containers >"$work/log" 2>&1 &
    pid=$!
    cp "$work/page" "$work/confined"
    served "http://127.0.0.1:$PORT/metrics" || status=1
    kill "$pid"
    wait "$pid" || true
    for page in confined page; do grep '^node_scrape_collector_success' "$work/$page" | sort >"$work/$page.success"; done
    diff "$work/page.success" "$work/confined.success" || status=1
    return "$status"
}

optimizer() {
    printf 'optimizer: {listen: "127.0.0.1:%s"}\n' "$PORT" >"$work/optimizer.yaml"
    confined "$work/optimizer.trace" env STATE_DIRECTORY="$work/state" \
        "$work/headroom" optimizer --config="$work/optimizer.yaml"
    status=0
    served "http://127.0.0.1:$PORT/metrics" || status=1
    ended
    grep -q '^headroom_optimizer_journal_writable 1' "$work/page" || { echo 'no journal'; return 1; }
    return "$status"
}

# allowed UNIT TRACE: whether all that was called from the start of the program on is in SystemCallFilter=
allowed() {
    systemd-analyze syscall-filter --no-pager >"$work/sets"
    python3 - "$work/sets" "$1" "$2" <<'END'
import re, sys
sets, name = {}, None
for line in open(sys.argv[1]):
    line = line.rstrip()
    if line.startswith("@"):
        name = line
        sets[name] = set()
    elif name and line.startswith("    ") and not line.strip().startswith("#"):
        sets[name].add(line.strip())
def members(word):
    return set().union(*map(members, sets[word])) if word in sets else {word}
may = members("@default")
for line in open(sys.argv[2]):
    if line.startswith("SystemCallFilter="):
        value = line.strip().split("=", 1)[1]
        every = set().union(*(members(word) for word in value.lstrip("~").split()))
        may = may - (every - members("@default")) if value.startswith("~") else may | every
begun, bad = False, {}
for line in open(sys.argv[3], errors="replace"):
    begun = begun or re.search(r'execve\("[^"]*/headroom",', line)
    call = re.match(r"\d+ +(?:<\.\.\. )?([a-z_0-9]+)[( ]", line)
    if begun and call and call[1] not in may:
        bad.setdefault(call[1], line.strip())
print("\n".join(bad.values()))
sys.exit(1 if bad or not begun else 0)
END
}

main "$@"
