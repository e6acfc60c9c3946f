//! The collectors of devices and of protocols: a host with one of each kind, kept in one file.

use crate::machine::at;
use crate::page::{check_golden, collector, page};
use headroom::collect::{Options, netclass, rapl};
use std::path::Path;

/// The collectors that the file is made for.
const NAMES: [&str; 20] = [
    "ipvs",
    "kernel_hung",
    "mdadm",
    "netclass",
    "netstat",
    "nfs",
    "nfsd",
    "nvme",
    "powersupplyclass",
    "rapl",
    "schedstat",
    "selinux",
    "sockstat",
    "softnet",
    "tapestats",
    "thermal_zone",
    "udp_queues",
    "watchdog",
    "xfs",
    "zfs",
];

/// Puts the host's files below `root`.
pub(crate) fn unpack(root: &Path) {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for part in include_str!("../host/one_of_each.txt").split("\n# ") {
        let (head, text) = part.split_once('\n').unwrap_or((part, ""));
        match head.split_once(' ') {
            Some(("file", path)) => put(path, &(text.trim_end_matches(' ').to_owned() + "\n")),
            Some(("dir", path)) => {
                for (name, value) in text.lines().filter_map(|line| line.split_once(" = ")) {
                    put(&format!("{path}/{name}"), &format!("{value}\n"));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn devices_have_the_page_that_was_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path());
    let host = at(dir.path());
    let mut pages = String::new();
    for name in NAMES {
        let mut collector = collector(name, &host, &Options::default());
        let first = page(&mut *collector, &host);
        assert_eq!(page(&mut *collector, &host), first, "{name}: the second pass differs");
        pages += &first;
    }
    check_golden("one_of_each", &pages.replace(&*dir.path().to_string_lossy(), ""));
}

#[test]
fn devices_that_go_come_back_or_change_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path());
    let host = at(dir.path());
    let mut each: Vec<_> =
        NAMES.iter().map(|name| (name, collector(name, &host, &Options::default()))).collect();
    let whole: Vec<String> = each.iter_mut().map(|(_, collector)| page(&mut **collector, &host)).collect();
    std::fs::remove_dir_all(dir.path().join("sys")).unwrap();
    std::fs::remove_dir_all(dir.path().join("proc/spl")).unwrap();
    std::fs::write(dir.path().join("proc/mdstat"), "Personalities :\nunused devices: <none>\n").unwrap();
    for (name, collector) in &mut each {
        let mut out = headroom::encode::text::TextEncoder::default();
        _ = collector.collect(&host, &mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        for gone in ["eth0", "nvme0", "BAT0", "rapl", "st0", "watchdog0", "sda1", "pool1", "md0", "Processor"]
        {
            assert!(!page.contains(gone), "{name} still shows {gone}: {page}");
        }
    }
    unpack(dir.path());
    for ((name, collector), whole) in each.iter_mut().zip(whole) {
        assert_eq!(page(&mut **collector, &host), whole, "{name}");
    }
}

#[test]
fn options_choose_devices_and_the_form_of_names() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path());
    let host = at(dir.path());
    let options = Options {
        netclass: netclass::Options {
            ignored_devices: "^eth".into(),
            ignore_invalid_speed: true,
            ..Default::default()
        },
        rapl: rapl::Options { enable_zone_label: true },
        ..Default::default()
    };
    let network = page(&mut *collector("netclass", &host, &options), &host);
    assert!(network.contains("node_network_mtu_bytes{device=\"wg0\"} 1420\n"), "{network}");
    assert!(!network.contains("eth0") && !network.contains("node_network_speed_bytes"), "{network}");
    let energy = page(&mut *collector("rapl", &host, &options), &host);
    let path = host.sysfs.join("class/powercap/intel-rapl:0:0");
    let series = format!(
        "node_rapl_joules_total{{index=\"0\",path=\"{}\",rapl_zone=\"core\"}} 118821.284256",
        path.display()
    );
    assert!(energy.lines().any(|line| line == series), "{energy}");
}

#[test]
fn the_clock_of_this_machine_is_described() {
    let host = at(Path::new("/nowhere"));
    let page = page(&mut *collector("timex", &host, &Options::default()), &host);
    assert_eq!(page.lines().filter(|line| !line.starts_with('#')).count(), 17, "{page}");
    let ratio = crate::page::value(&page, "node_timex_frequency_adjustment_ratio").unwrap();
    assert!((ratio - 1.0).abs() < 0.001, "{page}");
}
