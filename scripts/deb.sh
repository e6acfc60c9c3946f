#!/bin/sh
# Makes a Debian package of a binary that was built: deb.sh BINARY DIRECTORY
# The directory gets headroom_VERSION_ARCH.deb. Needs dpkg-deb and, to make a small package, strip. The same tree and the same
# binary give the same bytes.
set -eu
cd "$(dirname "$0")/.."
REVISION=1
UNITS='headroom-exporter.service headroom-exporter.socket headroom-optimizer.service headroom.service'

main() {
    binary=$(realpath "$1")
    mkdir -p "$2"
    out=$(realpath "$2")
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)-$REVISION
    arch=$(dpkg --print-architecture)
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
    export SOURCE_DATE_EPOCH
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    root=$work/root
    umask 022
    program
    services
    documents
    control
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    package=$out/headroom_${version}_$arch.deb
    # DEB_COMPRESS='-Zgzip -z1' makes a larger package in a moment, for tests.
    # shellcheck disable=SC2086 # options
    dpkg-deb ${DEB_COMPRESS:--Zxz} --root-owner-group --build "$root" "$package" >/dev/null
    echo "$package"
}

# put MODE FILE PATH: a file of the package
put() {
    install -D -m "$1" "$2" "$root$3"
}

# squeeze PATH: as Debian wants its manuals and changelogs
squeeze() {
    gzip -9n "$root$1"
}

program() {
    put 0755 "$binary" /usr/bin/headroom
    if command -v strip >/dev/null; then strip --strip-unneeded -R .comment -R .note "$root/usr/bin/headroom"; fi
    for shell in bash zsh fish; do "$binary" completion $shell >"$work/$shell"; done
    put 0644 "$work/bash" /usr/share/bash-completion/completions/headroom
    put 0644 "$work/zsh" /usr/share/zsh/vendor-completions/_headroom
    put 0644 "$work/fish" /usr/share/fish/vendor_completions.d/headroom.fish
    "$binary" man "$work/man"
    for page in "$work"/man/*.1; do
        put 0644 "$page" "/usr/share/man/man1/${page##*/}"
        squeeze "/usr/share/man/man1/${page##*/}"
    done
}

services() {
    for unit in $UNITS; do put 0644 "deploy/systemd/$unit" "/lib/systemd/system/$unit"; done
    put 0644 headroom.example.yaml /etc/headroom/headroom.yaml
    put 0644 deploy/deb/headroom-exporter.default /etc/default/headroom-exporter
}

documents() {
    doc=/usr/share/doc/headroom
    put 0644 README.md $doc/README.md
    put 0644 SECURITY.md $doc/SECURITY.md
    for page in docs/*.md docs/runbooks/*.md; do put 0644 "$page" "$doc/$page"; done
    for file in headroom.example.yaml prometheus/*.yml prometheus/rules/*.yml grafana/dashboards/*.json; do
        put 0644 "$file" "$doc/examples/$file"
    done
    put 0644 deploy/deb/copyright $doc/copyright
    put 0644 deploy/deb/lintian-overrides /usr/share/lintian/overrides/headroom
    put 0644 CHANGELOG.md $doc/changelog
    squeeze $doc/changelog
    cat >"$work/changelog" <<END
headroom ($version) unstable; urgency=medium

  * Release ${version%-*}; see changelog.gz.

 -- Headroom maintainers <headroom@users.noreply.github.com>  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END
    put 0644 "$work/changelog" $doc/changelog.Debian
    squeeze $doc/changelog.Debian
}

control() {
    mkdir "$root/DEBIAN"
    for script in postinst prerm postrm; do install -m 0755 "deploy/deb/$script" "$root/DEBIAN/$script"; done
    # What an administrator changed there stays as it is.
    (cd "$root" && find etc -type f | LC_ALL=C sort | sed 's,^,/,') >"$root/DEBIAN/conffiles"
    (cd "$root" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    chmod 0644 "$root/DEBIAN/conffiles" "$root/DEBIAN/md5sums"
    # The newest of the C library's symbols that the program wants.
    libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$root/usr/bin/headroom" | sort -uV | tail -n 1)
    cat >"$root/DEBIAN/control" <<END
Package: headroom
Version: $version
Section: net
Priority: optional
Architecture: $arch
Maintainer: Headroom maintainers <headroom@users.noreply.github.com>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f 1)
Depends: adduser, init-system-helpers (>= 1.54~), libc6 (>= ${libc#GLIBC_}), libgcc-s1 (>= 4.2)
Suggests: prometheus, prometheus-alertmanager
Homepage: https://github.com/headroom/headroom
Description: metrics of a machine, and memory given back where it is short
 The exporter serves metrics under the names of node_exporter, process-exporter
 and cAdvisor. Rules for Prometheus decide what is wrong; the optimizer takes
 Alertmanager's webhooks, frees memory of the targets that its configuration
 names, measures what the machine really got back, and keeps a record of it.
 .
 No service is enabled by the installation: choose headroom-exporter and
 headroom-optimizer beside your own Prometheus, or headroom, which starts all.
END
}

main "$@"
