//! Pages for tests: a host tree or this machine, one collector or all, compared with what is expected.

use headroom::collect::{Collector, Options, REGISTRY};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use std::path::{Path, PathBuf};

/// The captured host `name`.
pub(crate) fn host(name: &str) -> Host {
    let root = repository().join("tests/host").join(name);
    Host {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.join("root"),
        udev_data: root.join("udev"),
        ..Host::default()
    }
}

/// The collector `name` from the list.
pub(crate) fn collector(name: &str, host: &Host, options: &Options) -> Box<dyn Collector> {
    let entry = REGISTRY.iter().find(|e| e.name == name).unwrap();
    (entry.make)(host, options).unwrap()
}

/// What a collector writes in one pass.
pub(crate) fn page(collector: &mut dyn Collector, host: &Host) -> String {
    let mut out = TextEncoder::default();
    collector.collect(host, &mut out).unwrap();
    String::from_utf8(out.page().to_vec()).unwrap()
}

/// The value of the sample that `series` names, if it is on the page.
pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Compares with `tests/golden/NAME.txt`; with `UPDATE=1` in the environment, writes it.
pub(crate) fn check_golden(name: &str, page: &str) {
    let path = repository().join("tests/golden").join(name).with_extension("txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = expected.lines().zip(page.lines()).find(|(e, p)| e != p);
    assert!(expected == page, "{} differs, first in {difference:?}; see `UPDATE=1`", path.display());
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
