//! The collectors of the whole machine: a captured host, and this one.

use crate::page::{check_golden, collector, host, page, value};
use headroom::collect::{Options, cpu, filesystem, netdev, pcidevice, qdisc, sysctl, wifi};
use headroom::host::Host;
use std::path::Path;
use std::time::Duration;

/// What is the same wherever and whenever the captured host is read.
const GOLDEN: [&str; 13] = [
    "arp",
    "conntrack",
    "cpu",
    "diskstats",
    "entropy",
    "filefd",
    "loadavg",
    "meminfo",
    "netdev",
    "os",
    "pressure",
    "stat",
    "vmstat",
];

/// The same of collectors that run only if they are asked for.
const GOLDEN_OPTIONAL: [&str; 17] = [
    "bcachefs",
    "buddyinfo",
    "cgroups",
    "cpu_vulnerabilities",
    "drbd",
    "interrupts",
    "ksmd",
    "lnstat",
    "meminfo_numa",
    "mountstats",
    "qdisc",
    "slabinfo",
    "softirqs",
    "sysctl",
    "wifi",
    "xfrm",
    "zoneinfo",
];

/// What the optional collectors are told: which parameters to show, and where answers of the kernel are written down.
fn optional() -> Options {
    let recorded = |name: &str| host("machine").procfs.with_file_name(name).to_string_lossy().into_owned();
    Options {
        qdisc: qdisc::Options { fixtures: recorded("qdisc"), ..Default::default() },
        wifi: wifi::Options { fixtures: recorded("wifi") },
        sysctl: sysctl::Options {
            include: ["fs.file-nr", "fs.file-nr:total,free,max", "kernel.threads-max"]
                .map(String::from)
                .into(),
            include_info: vec!["kernel.pid_max".into()],
        },
        ..Default::default()
    }
}

#[test]
fn a_captured_host_has_the_optional_page_that_was_looked_at() {
    let host = host("machine");
    let mut pages =
        GOLDEN_OPTIONAL.map(|name| page(&mut *collector(name, &host, &optional()), &host)).concat();
    let processes = crate::page::host("processes");
    pages += &page(&mut *collector("processes", &processes, &Options::default()), &processes);
    check_golden("optional", &pages);
}

#[test]
fn pci_devices_have_a_place_and_names_and_what_the_kernel_does_not_tell_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let device = "sys/devices/pci0000:00/0000:00:02.1/0000:01:00.0";
    for (file, text) in [
        ("class", "0x010802"),
        ("vendor", "0xc0a9"),
        ("device", "0x540a"),
        ("subsystem_vendor", "0xc0a9"),
        ("subsystem_device", "0x5021"),
        ("revision", "0x01"),
        ("max_link_speed", "16.0 GT/s PCIe"),
        ("current_link_speed", "Unknown"),
        ("numa_node", "-1"),
        ("power_state", "D0"),
    ] {
        std::fs::create_dir_all(dir.path().join(device)).unwrap();
        std::fs::write(dir.path().join(device).join(file), format!("{text}\n")).unwrap();
    }
    let list = dir.path().join("root/usr/share/misc/pci.ids");
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    std::fs::write(list, "c0a9  Micron\n\t540a  P5\nC 01  Storage\n\t08  Flash\n").unwrap();
    let links = dir.path().join("sys/bus/pci/devices");
    std::fs::create_dir_all(&links).unwrap();
    std::os::unix::fs::symlink(dir.path().join(device), links.join("0000:01:00.0")).unwrap();
    let host = at(dir.path());
    let options =
        Options { pcidevice: pcidevice::Options { names: true, ..Default::default() }, ..Default::default() };
    let mut collector = collector("pcidevice", &host, &options);
    page(&mut *collector, &host);
    check_golden("pcidevice", &page(&mut *collector, &host));
}

#[test]
fn a_captured_host_has_the_page_that_was_looked_at() {
    let host = host("machine");
    let pages = GOLDEN.map(|name| page(&mut *collector(name, &host, &Options::default()), &host));
    check_golden("machine", &pages.concat());
}

#[test]
fn a_second_pass_says_the_same_as_the_first() {
    let host = host("machine");
    for name in GOLDEN.into_iter().chain(["filesystem", "uname"]) {
        let mut collector = collector(name, &host, &Options::default());
        let (first, second) = (page(&mut *collector, &host), page(&mut *collector, &host));
        if name != "filesystem" {
            assert_eq!(first, second, "{name}");
        }
        assert_eq!(first.lines().count(), second.lines().count(), "{name}");
    }
}

#[test]
fn mounts_are_shown_or_say_why_not_and_the_kernels_own_are_left_out() {
    let host = host("machine");
    let options = Options {
        filesystem: filesystem::Options { mount_timeout: Duration::from_secs(20), ..Default::default() },
        ..Default::default()
    };
    let page = page(&mut *collector("filesystem", &host, &options), &host);
    let root = "device=\"/dev/vda\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"";
    let gone = "device=\"files:/export\",device_error=\"no such file or directory\",fstype=\"nfs4\",\
                mountpoint=\"/no/such directory\"";
    let of = |family: &str, labels: &str| value(&page, &format!("node_filesystem_{family}{{{labels}}}"));
    assert_eq!((of("device_error", root), of("readonly", root)), (Some(0.0), Some(0.0)), "{page}");
    assert_eq!((of("device_error", gone), of("readonly", gone)), (Some(1.0), Some(1.0)), "{page}");
    assert!(of("size_bytes", root) >= of("free_bytes", root) && of("avail_bytes", root) > Some(0.0));
    assert_eq!(of("size_bytes", gone), None);
    assert_eq!(of("mount_info", "device=\"/dev/vda\",major=\"254\",minor=\"0\",mountpoint=\"/\""), Some(1.0));
    assert!(!page.contains("cgroup") && !page.contains("\"/dev/shm\""), "{page}");
}

#[test]
fn the_clock_is_right_and_its_sources_are_named() {
    let host = host("machine");
    let page = page(&mut *collector("time", &host, &Options::default()), &host);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((value(&page, "node_time_seconds").unwrap() - now).abs() < 10.0);
    assert!(page.contains("node_time_zone_offset_seconds{time_zone=\""), "{page}");
    assert!(page.contains("node_time_clocksource_current_info{clocksource=\""), "{page}");
}

#[test]
fn the_kernels_names_are_shown() {
    let host = Host::default();
    let page = page(&mut *collector("uname", &host, &Options::default()), &host);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(page.contains(&format!("release=\"{}\"", release.trim())), "{page}");
}

#[test]
fn throttling_is_counted_once_for_a_core_and_isolated_processors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("proc/stat", "cpu  1 1 1 1\ncpu0 100 0 0 4 5 6 7 8 9 10\ncpu1 1 2 3 4\n");
    for cpu in 0..4 {
        let at = |name: &str| format!("sys/devices/system/cpu/cpu{cpu}/{name}");
        put(&at("topology/physical_package_id"), "0\n");
        put(&at("topology/core_id"), &format!("{}\n", cpu / 2));
        put(&at("thermal_throttle/core_throttle_count"), &format!("{}\n", 5 + cpu / 2));
        put(&at("thermal_throttle/package_throttle_count"), "30\n");
        put(&at("online"), "1\n");
    }
    put("sys/devices/system/cpu/isolated", "2-3\n");
    put("sys/devices/system/cpu/online", "0-1,3\n");
    let host = at(dir.path());
    let mut collector = collector("cpu", &host, &Options::default());
    let first = page(&mut *collector, &host);
    for line in [
        "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 1",
        "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 0.1",
        "node_cpu_core_throttles_total{core=\"0\",package=\"0\"} 5",
        "node_cpu_core_throttles_total{core=\"1\",package=\"0\"} 6",
        "node_cpu_package_throttles_total{package=\"0\"} 30",
        "node_cpu_isolated{cpu=\"3\"} 1",
        "node_cpu_online{cpu=\"2\"} 0",
        "node_cpu_online{cpu=\"3\"} 1",
    ] {
        assert!(first.lines().any(|have| have == line), "{line} is not in {first}");
    }
    assert!(
        !first.contains("{cpu=\"1\",mode=\"iowait\"}"),
        "an old kernel's fourth mode is its last: {first}"
    );
    // A processor goes; another one's time falls a little, which is no new start.
    put("proc/stat", "cpu  1 1 1 1\ncpu0 99 0 0 4 5 6 7 8 9 10\n");
    let second = page(&mut *collector, &host);
    assert_eq!(value(&second, "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"}"), Some(1.0));
    assert!(!second.contains("cpu=\"1\",mode"), "{second}");
}

#[test]
fn models_are_shown_if_asked_for_and_the_time_of_guests_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path());
    std::fs::create_dir_all(dir.path().join("proc")).unwrap();
    std::fs::write(dir.path().join("proc/stat"), "cpu0 1 2 3 4 5 6 7 8 9 10\n").unwrap();
    let info = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 800.5\nflags\t\t: fpu avx avx2 aes\nbugs\t\t: mds\n";
    std::fs::write(dir.path().join("proc/cpuinfo"), info).unwrap();
    let cpu = cpu::Options { guest: false, info_flags_include: "^avx".into(), ..Default::default() };
    let mut options = Options { cpu, ..Default::default() };
    let first = page(&mut *collector("cpu", &host, &options), &host);
    for line in [
        "node_cpu_info{cachesize=\"\",core=\"\",cpu=\"0\",family=\"\",microcode=\"\",model=\"\",model_name=\"\",\
         package=\"\",stepping=\"\",vendor=\"GenuineIntel\"} 1",
        "node_cpu_frequency_hertz{core=\"\",cpu=\"0\",package=\"\"} 800500000",
        "node_cpu_flag_info{flag=\"avx2\"} 1",
    ] {
        assert!(first.lines().any(|have| have == line), "{line} is not in {first}");
    }
    assert!(!first.contains("guest") && !first.contains("aes") && !first.contains("mds"), "{first}");
    // As in node_exporter, frequencies belong to `cpufreq`.
    options.disabled.push("cpufreq".into());
    let second = page(&mut *collector("cpu", &host, &options), &host);
    assert!(second.contains("node_cpu_info") && !second.contains("frequency"), "{second}");
}

#[test]
fn devices_that_come_and_go_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path());
    let counts = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
    let write = |names: &[&str]| {
        let head = "Inter-|   Receive\n face |bytes\n".to_owned();
        let lines = names.iter().map(|name| format!("{name}: {counts}\n"));
        std::fs::create_dir_all(dir.path().join("proc/net")).unwrap();
        std::fs::write(dir.path().join("proc/net/dev"), head + &lines.collect::<String>()).unwrap();
    };
    let netdev = netdev::Options { device_exclude: "^veth".into(), ..Default::default() };
    let options = Options { netdev, ..Default::default() };
    let mut collector = collector("netdev", &host, &options);
    let mut shown = |names: &[&str]| {
        write(names);
        let page = page(&mut *collector, &host);
        let found =
            page.lines().filter_map(|l| l.strip_prefix("node_network_transmit_carrier_total{device=\""));
        found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&["lo", "veth1", "eth0"]), ["lo", "eth0"]);
    assert_eq!(shown(&["lo", "eth0", "eth1"]), ["lo", "eth0", "eth1"]);
    assert_eq!(shown(&["veth1"]), Vec::<String>::new());
    assert_eq!(shown(&["eth1"]), ["eth1"]);
}

#[test]
fn an_option_that_cannot_be_used_is_named() {
    let wrong = Options {
        netdev: netdev::Options { device_include: "(".into(), ..Default::default() },
        ..Default::default()
    };
    let entry = headroom::collect::REGISTRY.iter().find(|e| e.name == "netdev").unwrap();
    let error = (entry.make)(&Host::default(), &wrong).err().unwrap();
    assert_eq!(error.key, "netdev.device_include");
    assert_eq!(cpu::ENTRY.name, "cpu");
}

/// A host below `root` that has nothing but what a test puts there.
pub(crate) fn at(root: &Path) -> Host {
    Host {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        rootfs: root.join("root"),
        udev_data: root.join("udev"),
        ..Host::default()
    }
}
