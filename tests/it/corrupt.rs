//! Kernel files that are cut off or damaged: a collector says nothing wrong and never panics.

use crate::machine::at;
use crate::page::{collector, host, page};
use headroom::collect::Options;
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use std::collections::HashSet;
use std::path::Path;

/// Each collector with a file that it reads, and whether the file is made of lines: then what is cut in the
/// middle of a line is an error, and what is cut behind one is a part of the whole page.
const FILES: [(&str, &str, bool); 70] = [
    ("arp", "proc/net/arp", true),
    ("bcachefs", "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/compression_stats", true),
    ("bcachefs", "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/counters/btree_node_split", true),
    ("bcachefs", "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/dev-0/io_done", true),
    ("buddyinfo", "proc/buddyinfo", true),
    ("cgroups", "proc/cgroups", false),
    ("conntrack", "proc/net/stat/nf_conntrack", true),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_count", true),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_max", true),
    ("cpu", "proc/stat", true),
    ("cpu", "sys/devices/system/cpu/online", false),
    ("cpu", "sys/devices/system/cpu/cpu0/topology/core_id", false),
    ("cpu_vulnerabilities", "sys/devices/system/cpu/vulnerabilities/spectre_v2", false),
    ("diskstats", "proc/diskstats", true),
    ("diskstats", "udev/b254:0", false),
    ("drbd", "proc/drbd", true),
    ("entropy", "proc/sys/kernel/random/entropy_avail", true),
    ("entropy", "proc/sys/kernel/random/poolsize", true),
    ("filefd", "proc/sys/fs/file-nr", true),
    ("filesystem", "proc/1/mountinfo", true),
    ("interrupts", "proc/interrupts", true),
    ("ipvs", "proc/net/ip_vs", true),
    ("ipvs", "proc/net/ip_vs_stats", true),
    ("kernel_hung", "proc/sys/kernel/hung_task_detect_count", true),
    ("ksmd", "sys/kernel/mm/ksm/general_profit", true),
    ("lnstat", "proc/net/stat/rt_cache", true),
    ("loadavg", "proc/loadavg", true),
    ("mdadm", "proc/mdstat", true),
    ("mdadm", "sys/block/md0/md/raid_disks", false),
    ("meminfo", "proc/meminfo", true),
    ("meminfo_numa", "sys/devices/system/node/node0/meminfo", true),
    ("meminfo_numa", "sys/devices/system/node/node0/numastat", true),
    ("mountstats", "proc/self/mountinfo", true),
    ("mountstats", "proc/self/mountstats", true),
    ("netclass", "sys/class/net/eth0/flags", false),
    ("netclass", "sys/class/net/eth0/ifalias", false),
    ("netdev", "proc/net/dev", true),
    ("netdev", "sys/class/net/lo/statistics/rx_nohandler", false),
    ("netstat", "proc/net/netstat", true),
    ("netstat", "proc/net/snmp", true),
    ("netstat", "proc/net/snmp6", true),
    ("nfs", "proc/net/rpc/nfs", true),
    ("nfsd", "proc/net/rpc/nfsd", true),
    ("nvme", "sys/class/nvme/nvme0/model", false),
    ("nvme", "sys/class/nvme/nvme0/nvme0n1/size", false),
    ("os", "root/etc/os-release", false),
    ("powersupplyclass", "sys/class/power_supply/BAT0/temp", false),
    ("powersupplyclass", "sys/class/power_supply/BAT0/model_name", false),
    ("pressure", "proc/pressure/memory", false),
    ("rapl", "sys/class/powercap/intel-rapl:0/name", false),
    ("rapl", "sys/class/powercap/intel-rapl:0/energy_uj", false),
    ("schedstat", "proc/schedstat", true),
    ("selinux", "sys/fs/selinux/enforce", false),
    ("slabinfo", "proc/slabinfo", true),
    ("sockstat", "proc/net/sockstat", true),
    ("sockstat", "proc/net/sockstat6", true),
    ("softirqs", "proc/softirqs", true),
    ("softnet", "proc/net/softnet_stat", false),
    ("stat", "proc/stat", true),
    ("tapestats", "sys/class/scsi_tape/st0/stats/io_ns", false),
    ("thermal_zone", "sys/class/thermal/thermal_zone0/temp", false),
    ("udp_queues", "proc/net/udp", false),
    ("vmstat", "proc/vmstat", true),
    ("watchdog", "sys/class/watchdog/watchdog0/options", false),
    ("xfrm", "proc/net/xfrm_stat", false),
    ("xfs", "sys/fs/xfs/sda1/stats/stats", true),
    ("zfs", "proc/spl/kstat/zfs/arcstats", true),
    ("zfs", "proc/spl/kstat/zfs/pool1/io", true),
    ("zfs", "proc/spl/kstat/zfs/pool1/objset-0x36", false),
    ("zoneinfo", "proc/zoneinfo", false),
];

/// One pass of a new collector; `None` if it failed, and then it has written nothing.
pub(crate) fn try_page(name: &str, host: &Host) -> Option<String> {
    let mut out = TextEncoder::default();
    let result = collector(name, host, &Options::default()).collect(host, &mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    assert!(result.is_ok() || page.is_empty(), "{name} failed after it wrote {page}");
    result.is_ok().then_some(page)
}

#[test]
fn a_file_that_is_cut_at_any_byte_gives_a_part_of_the_page_or_nothing() {
    for (name, file, of_lines) in FILES {
        let dir = copy_of("machine");
        let host = at(dir.path());
        let whole = page(&mut *collector(name, &host, &Options::default()), &host);
        // How full a file system is changes while the test runs.
        let lines: HashSet<&str> = whole.lines().map(|line| comparable(name, line)).collect();
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let Some(page) = try_page(name, &host) else { continue };
            check_families(&page);
            if of_lines {
                assert!(
                    cut == 0 || bytes[cut - 1] == b'\n',
                    "{name} took half a line of {file}, cut at {cut}"
                );
                let stranger = page.lines().find(|line| !lines.contains(comparable(name, line)));
                assert_eq!(stranger, None, "{name}, {file} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_damaged_byte_is_an_error_or_a_well_formed_page() {
    for (name, file, _) in FILES {
        let dir = copy_of("machine");
        let host = at(dir.path());
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        for (at, put) in
            (0..bytes.len()).step_by(3).zip([b'\xff', b'x', b'\n', b' ', b'-', b':', 0].iter().cycle())
        {
            let mut damaged = bytes.clone();
            damaged[at] = *put;
            std::fs::write(&path, damaged).unwrap();
            if let Some(page) = try_page(name, &host) {
                check_families(&page);
            }
        }
    }
}

#[test]
fn files_that_are_missing_or_directories_are_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "arp",
        "bcachefs",
        "bonding",
        "buddyinfo",
        "cgroups",
        "conntrack",
        "cpu",
        "cpu_vulnerabilities",
        "cpufreq",
        "diskstats",
        "dmi",
        "dmmultipath",
        "drbd",
        "entropy",
        "fibrechannel",
        "filefd",
        "filesystem",
        "hwmon",
        "infiniband",
        "interrupts",
        "ipvs",
        "kernel_hung",
        "ksmd",
        "lnstat",
        "loadavg",
        "mdadm",
        "meminfo",
        "meminfo_numa",
        "mountstats",
        "netclass",
        "netstat",
        "nfs",
        "nfsd",
        "nvme",
        "os",
        "pcidevice",
        "powersupplyclass",
        "pressure",
        "processes",
        "rapl",
        "schedstat",
        "slabinfo",
        "softirqs",
        "softnet",
        "stat",
        "tapestats",
        "udp_queues",
        "vmstat",
        "watchdog",
        "xfrm",
        "zfs",
        "zoneinfo",
    ] {
        assert_eq!(try_page(name, &at(dir.path())), None, "{name}");
    }
    // As in node_exporter, to have none of these devices is no failure.
    for name in ["bcache", "btrfs", "edac"] {
        assert_eq!(try_page(name, &at(dir.path())).as_deref(), Some(""), "{name}");
    }
    for (name, file, _) in FILES {
        let dir = copy_of("machine");
        std::fs::remove_file(dir.path().join(file)).unwrap();
        std::fs::create_dir(dir.path().join(file)).unwrap();
        _ = try_page(name, &at(dir.path()));
    }
}

/// Every family has a help, a type and at least one sample of its own.
pub(crate) fn check_families(page: &str) {
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()).expect(line);
        assert!(lines.next().unwrap().starts_with(&format!("# TYPE {name} ")), "{line}");
        let mut samples = 0;
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            assert!(
                sample.starts_with(&format!("{name}{{")) || sample.starts_with(&format!("{name} ")),
                "{sample}"
            );
            assert!(sample.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{sample}");
            samples += 1;
        }
        assert!(samples > 0, "{name} has no samples");
    }
}

fn comparable<'a>(name: &str, line: &'a str) -> &'a str {
    if name == "filesystem" { line.rsplit_once(' ').map_or(line, |(series, _)| series) } else { line }
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = host(name).procfs.parent().unwrap().to_owned();
    copy(&from, dir.path());
    crate::one_of_each::unpack(dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
