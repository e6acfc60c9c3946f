#!/bin/sh
# Finds what is missing for `make run`, `make test`, `make bench` or `make fuzz`, and installs it: setup.sh run|test|bench|fuzz
# With nothing missing it changes nothing, asks the network nothing, and takes a moment.
set -eu
cd "$(dirname "$0")/.."

CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='put here for a moment by the set-up of headroom'

mode=${1:-}
packages=
# Programs that are missing, for the message where there is no apt.
programs=

main() {
    case $mode in
        run | test | bench | fuzz) ;;
        *) die "usage: setup.sh run|test|bench|fuzz" ;;
    esac
    # The bundled SQLite is C.
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing libc-headers libc6-dev
    if [ "$mode" = fuzz ]; then
        # The fuzzer is C++.
        need c++ g++
    else
        need prometheus prometheus
        need 'prometheus-alertmanager alertmanager' prometheus-alertmanager
    fi
    if [ "$mode" = test ]; then
        need promtool prometheus
        need amtool prometheus-alertmanager
        need shellcheck shellcheck
        need git git
        need pkill procps
        need python3 python3
        python3 -c 'import yaml' 2>/dev/null || missing python3-yaml python3-yaml
        # Debian's Python can make no environments without it.
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing python3-venv python3-venv
        # The live page is opened where npm can bring what steers the browser.
        ! command -v npm >/dev/null || need chromium chromium
        # An engine of its own can only be started by root; for others that stage is skipped, so it needs nothing.
        if [ "$(id -u)" -eq 0 ]; then
            need dockerd docker.io
            need docker 'docker-cli|docker.io'
            docker compose version >/dev/null 2>&1 || need docker-compose 'docker-compose|docker-compose-v2'
            need busybox busybox-static
            # Only crun starts containers without control groups of their own.
            need podman podman
            need crun crun
            need curl curl
            # The units' rights, and a Debian to install the package in; systemd itself and lintian are used where they are.
            need strace strace
            need debootstrap debootstrap
        fi
    fi
    if [ "$mode" = bench ]; then
        need prometheus-node-exporter prometheus-node-exporter
    fi
    [ -z "$packages" ] || install_packages
    rust
    if [ "$mode" = test ]; then
        rust_parts
        cargo_part cargo-deny "$CARGO_DENY"
    fi
    if [ "$mode" = fuzz ]; then
        cargo_part cargo-fuzz "$CARGO_FUZZ"
    fi
}

# need "PROGRAM OR..." "PACKAGE|OR...": notes the package if none of the programs is there.
need() {
    for program in $1; do
        # Debian keeps servers in sbin, which is not on everybody's PATH.
        if PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
            return 0
        fi
    done
    missing "${1%% *}" "$2"
}

# missing PROGRAM PACKAGE
missing() {
    programs="$programs $1"
    packages="$packages $2"
}

install_packages() {
    if ! command -v apt-get >/dev/null; then
        message="please install these programs:$programs (only apt, on Debian and Ubuntu, is known here)"
        # `headroom up` does without the servers that it does not find.
        if [ "$mode" = run ] && command -v cc >/dev/null; then
            echo "setup: $message; going on without"
            return 0
        fi
        die "$message"
    fi
    echo "missing:$programs"
    apt_get update -q
    chosen=
    for package in $packages; do
        name=$(available "$package")
        chosen="$chosen ${name:-$package}"
    done
    echo "installing:$chosen"
    hold_servers
    # shellcheck disable=SC2086 # a list of packages
    apt_get install -q -y --no-install-recommends $chosen
    release_servers
    not_at_boot
}

# Debian starts a server as it is installed. Ours are started by us, on loopback and with their own data.
hold_servers() {
    [ ! -e "$POLICY" ] || return 0
    trap release_servers EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" | as_root sh -c "cat >$POLICY && chmod 0755 $POLICY"
}

release_servers() {
    if grep -qs "$POLICY_MARK" "$POLICY"; then
        as_root rm -f "$POLICY"
    fi
}

# The first of PACKAGE|OR|OR that this release has, for names differ between releases; nothing if it has none.
available() {
    for name in $(echo "$1" | tr '|' ' '); do
        if apt-cache show "$name" 2>/dev/null | grep -q '^Package:'; then
            echo "$name"
            return 0
        fi
    done
}

# A server that was installed for us must not begin to listen at the next boot either.
not_at_boot() {
    command -v systemctl >/dev/null || return 0
    for unit in prometheus prometheus-alertmanager prometheus-node-exporter docker; do
        case " $chosen " in
            *" $unit "* | *" $unit.io "*)
                echo "not started at boot, unless you enable it: $unit"
                as_root systemctl disable -q "$unit.service" || echo "cannot disable $unit.service" >&2
                ;;
        esac
    done
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "not root, and no sudo; as root, please run: apt-get install --no-install-recommends$packages"
    fi
}

rust() {
    if at_least "$RUST" "$(version_of cargo)"; then
        return 0
    fi
    echo "missing: Rust $RUST or newer"
    command -v rustup >/dev/null || get_rustup
    # This version and not the newest, whose lints may find what nobody has seen yet.
    rustup toolchain install "$RUST" --profile minimal -c clippy -c rustfmt ||
        die "rustup cannot install Rust $RUST; see its message above"
    # A default that somebody chose is left alone.
    rustup default >/dev/null 2>&1 || rustup default "$RUST"
    at_least "$RUST" "$(version_of cargo)" ||
        die "cargo is still $(version_of cargo), and $RUST is needed: run \`rustup default $RUST\`, with ~/.cargo/bin first on the PATH"
}

# From the distribution, where it is new enough to have it (Debian 13, Ubuntu 24.04); else rustup's own.
get_rustup() {
    if command -v apt-get >/dev/null; then
        apt_get update -q
        if [ "$(available rustup)" = rustup ]; then
            apt_get install -q -y --no-install-recommends rustup
            return 0
        fi
        command -v curl >/dev/null || apt_get install -q -y --no-install-recommends curl ca-certificates
    fi
    directory=$(mktemp -d)
    # The program asks its own name what it is to do.
    installer=$directory/rustup-init
    url=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init
    if ! curl --proto '=https' --tlsv1.2 -sSf --max-time 120 "$url" -o "$installer" || ! chmod 0755 "$installer" ||
        ! "$installer" -y -q --profile minimal --default-toolchain none --no-modify-path; then
        die "please install Rust $RUST or newer with rustup (https://rustup.rs/) and start again"
    fi
    rm -rf "$directory"
}

rust_parts() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
        return 0
    fi
    rustup component add rustfmt clippy || die "cargo fmt and cargo clippy are needed: rustup component add rustfmt clippy"
}

# cargo_part PROGRAM VERSION
cargo_part() {
    if at_least "$2" "$(version_of "$1")"; then
        return 0
    fi
    echo "missing: $1 $2 (it is built now, once, which takes some minutes)"
    cargo install --locked --quiet "$1@$2"
}

# The version that a program says of itself; nothing if it is not there.
version_of() {
    "$1" --version 2>/dev/null | sed -n '1s/^[^ ]* \([0-9.]*\).*/\1/p'
}

# at_least WANTED FOUND
at_least() {
    [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]
}

die() {
    echo "setup: $*" >&2
    exit 1
}

main
