#!/bin/sh
# Builds the Debian package of a binary, and installs, changes, upgrades, removes and purges it in a Debian of its own below
# target/deb-root, which is made once:   deb.sh [HEADROOM]       without an argument the debug binary is built
# Needs root, dpkg-deb and debootstrap; lintian if it is there. What is missing is SKIPPED, by name.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=$target/deb-root.tar
SUITE=bookworm
PATH=$PATH:/usr/sbin:/sbin

# shellcheck source=tests/check.sh
. "$root/tests/check.sh"

main() {
    command -v dpkg-deb >/dev/null || { skip 'no dpkg-deb: the package is not built'; return 0; }
    binary=$(built "$root" "${1:-}")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    check 'it is built' build "$work/deb"
    [ "$failed" -eq 0 ] || return 1
    package=$(echo "$work"/deb/*.deb)
    check 'the same files give the same package' same
    check 'all that it should hold is there' holds
    if command -v lintian >/dev/null; then
        check 'lintian finds nothing' lintian --fail-on error,warning --allow-root "$package"
    else
        skip 'no lintian: the package is not linted'
    fi
    debian || return "$failed"
    debian=$work/debian
    check 'it installs' install_it
    check 'the program works there' works
    check 'the users of the services are there, and cannot log in' users
    check 'an upgrade keeps what was changed in /etc' upgrade
    check 'a removal keeps the configuration and the state' remove
    check 'a purge takes both, and not what others put there' purge
    return "$failed"
}

build() {
    DEB_COMPRESS='-Zgzip -z1' "$root/scripts/deb.sh" "$binary" "$1"
}

same() {
    build "$work/again"
    cmp "$package" "$work"/again/*.deb
}

holds() {
    dpkg-deb -c "$package" | awk '{ print $6 }' | sort >"$work/list"
    for path in usr/bin/headroom etc/headroom/headroom.yaml etc/default/headroom-exporter \
        lib/systemd/system/headroom.service lib/systemd/system/headroom-exporter.service \
        lib/systemd/system/headroom-exporter.socket lib/systemd/system/headroom-optimizer.service usr/share/man/man1/headroom.1.gz \
        usr/share/man/man1/headroom-exporter.1.gz usr/share/man/man1/headroom-check-config.1.gz \
        usr/share/bash-completion/completions/headroom usr/share/zsh/vendor-completions/_headroom \
        usr/share/fish/vendor_completions.d/headroom.fish usr/share/doc/headroom/copyright \
        usr/share/doc/headroom/docs/metrics.md usr/share/doc/headroom/examples/prometheus/prometheus.yml; do
        grep -qx "./$path" "$work/list" || { echo "$path is not in the package"; return 1; }
    done
    # Each of the unit's manuals.
    sed -n 's/^Documentation=man:\([a-z-]*\)(1).*/\1/p' "$root"/deploy/systemd/*.service | while read -r page; do
        grep -qx "./usr/share/man/man1/$page.1.gz" "$work/list" || { echo "no manual $page"; exit 1; }
    done
    dpkg-deb -I "$package" conffiles | sort >"$work/conffiles"
    printf '/etc/default/headroom-exporter\n/etc/headroom/headroom.yaml\n' | diff - "$work/conffiles"
}

# A Debian with nothing in it; unpacked anew for each run, and fetched once.
debian() {
    [ "$(id -u)" -eq 0 ] || { skip 'not root: the package is not installed anywhere'; return 1; }
    if [ ! -e "$cache" ]; then
        command -v debootstrap >/dev/null || { skip 'no debootstrap: the package is not installed anywhere'; return 1; }
        echo "fetching a Debian $SUITE into ${cache#"$root"/}, once"
        if ! debootstrap --variant=minbase --include=adduser "$SUITE" "$work/made" >"$work/debootstrap.log" 2>&1; then
            tail -n 5 "$work/debootstrap.log" >&2
            skip 'debootstrap did not work: the package is not installed anywhere'
            return 1
        fi
        rm -rf "$work/made/var/cache/apt" "$work/made/var/lib/apt/lists" "$work/made/usr/share/locale"
        tar -C "$work/made" --exclude=./dev/* -cf "$cache.part" .
        mv "$cache.part" "$cache"
    fi
    mkdir "$work/debian"
    tar -C "$work/debian" -xf "$cache"
}

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$debian" "$@"
}

install_it() {
    cp "$package" "$debian/headroom.deb"
    inside dpkg -i /headroom.deb || return 1
    inside dpkg -s headroom | grep -qx 'Status: install ok installed'
}

works() {
    inside headroom --version && inside headroom check config /etc/headroom/headroom.yaml
}

users() {
    for user in headroom headroom-exporter; do
        inside getent passwd "$user" | grep ':/nonexistent:/usr/sbin/nologin$' || { echo "no $user"; return 1; }
    done
}

upgrade() {
    echo 'log: {level: debug}' >"$debian/etc/headroom/headroom.yaml"
    before=$(inside getent passwd headroom)
    inside dpkg --force-confdef -i /headroom.deb || return 1
    [ "$(cat "$debian/etc/headroom/headroom.yaml")" = 'log: {level: debug}' ] &&
        [ "$(inside getent passwd headroom)" = "$before" ]
}

remove() {
    mkdir -p "$debian/var/lib/headroom" && touch "$debian/var/lib/headroom/journal.sqlite"
    inside dpkg -r headroom || return 1
    [ ! -e "$debian/usr/bin/headroom" ] && [ -e "$debian/etc/headroom/headroom.yaml" ] &&
        [ -e "$debian/var/lib/headroom/journal.sqlite" ]
}

purge() {
    touch "$debian/etc/headroom/webhook-token"
    inside dpkg -P headroom || return 1
    [ ! -e "$debian/etc/headroom/headroom.yaml" ] && [ ! -e "$debian/var/lib/headroom" ] &&
        [ -e "$debian/etc/headroom/webhook-token" ]
}

main "$@"
