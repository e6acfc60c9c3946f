//! Options of collectors, as keys and as node_exporter's flags: what they show, and what is said about wrong ones.

use crate::machine::at;
use crate::page::{collector, host, page, value};
use crate::stack::{HEADROOM, Running, eventually, free_address, get};
use headroom::collect::{Options, REGISTRY, diskstats, filesystem, netdev, stat};
use headroom::encode::text::TextEncoder;
use std::process::Command;

/// The page of one collector for the captured host.
fn captured(name: &str, options: &Options) -> String {
    let host = host("machine");
    page(&mut *collector(name, &host, options), &host)
}

/// The values of a label on a page, each once.
fn values<'a>(page: &'a str, label: &str) -> Vec<&'a str> {
    let start = format!("{label}=\"");
    let mut all: Vec<&str> =
        page.lines().filter_map(|line| line.split(&start).nth(1)?.split('"').next()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn who_includes_devices_or_mounts_is_not_held_up_by_what_is_left_out_by_default() {
    let disks = |include: &str| Options {
        diskstats: diskstats::Options { devices_include: include.into(), ..Default::default() },
        ..Default::default()
    };
    assert_eq!(values(&captured("diskstats", &disks("")), "device"), ["vda"]);
    assert_eq!(values(&captured("diskstats", &disks("^loop[01]$")), "device"), ["loop0", "loop1"]);
    let mounts = |options: filesystem::Options| {
        let options = Options { filesystem: options, ..Default::default() };
        values(&captured("filesystem", &options), "mountpoint").join(" ")
    };
    let default = filesystem::Options::default();
    let shown =
        mounts(filesystem::Options { mount_points_include: "^/dev/(pts|shm)$".into(), ..default.clone() });
    assert_eq!(shown, "/dev/shm", "devpts is a kind that is left out");
    let shown = mounts(filesystem::Options {
        mount_points_include: "^/dev/pts$".into(),
        fs_types_include: "^devpts$".into(),
        ..default.clone()
    });
    assert_eq!(shown, "/dev/pts");
    // Not both by one's own will.
    let both =
        filesystem::Options { mount_points_include: "a".into(), mount_points_exclude: "b".into(), ..default };
    let options = Options { filesystem: both, ..Default::default() };
    let entry = REGISTRY.iter().find(|entry| entry.name == "filesystem").unwrap();
    let error = (entry.make)(&host("machine"), &options).err().unwrap();
    assert_eq!(error.key, "filesystem.mount_points_include");
}

#[test]
fn soft_interrupts_are_shown_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("proc")).unwrap();
    std::fs::write(dir.path().join("proc/stat"), "ctxt 5\nsoftirq 55 1 2 3 4 5 6 7 8 9 10\n").unwrap();
    let host = at(dir.path());
    let with = |softirq| Options { stat: stat::Options { softirq }, ..Default::default() };
    let shown = page(&mut *collector("stat", &host, &with(true)), &host);
    assert_eq!(value(&shown, "node_softirqs_total{vector=\"hi\"}"), Some(1.0));
    assert_eq!(value(&shown, "node_softirqs_total{vector=\"rcu\"}"), Some(10.0));
    assert!(!page(&mut *collector("stat", &host, &with(false)), &host).contains("softirq"));
}

#[test]
fn counts_of_devices_have_detailed_names_aliases_and_addresses_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("proc/net/dev", "a|b\nc|d\n e0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    put("sys/class/net/e0/statistics/rx_nohandler", "17\n");
    put("sys/class/net/e0/ifalias", "to the lake\n");
    let host = at(dir.path());
    let show = |options: netdev::Options| {
        let options = Options { netdev: options, ..Default::default() };
        page(&mut *collector("netdev", &host, &options), &host)
    };
    let plain = show(netdev::Options::default());
    assert_eq!(value(&plain, "node_network_receive_errs_total{device=\"e0\"}"), Some(3.0), "{plain}");
    let base = netdev::Options { netlink: false, enable_detailed_metrics: true, ..Default::default() };
    let renamed = show(netdev::Options { label_ifalias: true, ..base.clone() });
    for (name, want) in [("receive_errors", 3.0), ("transmit_dropped", 12.0), ("receive_nohandler", 17.0)] {
        let series = format!("node_network_{name}_total{{device=\"e0\",ifalias=\"to the lake\"}}");
        assert_eq!(value(&renamed, &series), Some(want), "{renamed}");
    }
    // By netlink there is this machine, whatever the files say.
    let detailed = show(netdev::Options { netlink: true, address_info: true, ..base.clone() });
    assert!(detailed.contains("node_network_receive_crc_errors_total{device=\"lo\"}"), "{detailed}");
    assert!(!detailed.contains("\"e0\"") && !detailed.contains("receive_errs"), "{detailed}");
    let own =
        "node_network_address_info{address=\"127.0.0.1\",device=\"lo\",netmask=\"8\",scope=\"link-local\"}";
    assert_eq!(value(&detailed, own), Some(1.0), "{detailed}");
    // Without the file there is netlink, if it may be asked.
    std::fs::remove_file(dir.path().join("proc/net/dev")).unwrap();
    assert!(show(netdev::Options::default()).contains("node_network_receive_errs_total{device=\"lo\"}"));
    let options =
        Options { netdev: netdev::Options { netlink: false, ..Default::default() }, ..Default::default() };
    let absent = collector("netdev", &host, &options).collect(&host, &mut TextEncoder::default());
    assert_eq!(absent.unwrap_err().to_string(), "net/dev is not there");
}

#[test]
fn netlinks_counts_of_two_collectors_are_shown_once() {
    let mut options = Options { disable_defaults: true, ..Options::default() };
    options.enabled = vec!["netclass".into(), "netdev".into()];
    (options.netclass.netlink, options.netclass.netlink_with_stats) = (true, true);
    let scraper = headroom::collect::Scraper::new(headroom::host::Host::default(), &options).unwrap();
    let mut out = TextEncoder::default();
    scraper.scrape(&mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    for name in ["receive_bytes_total", "receive_crc_errors_total", "receive_errs_total"] {
        let opened = page.matches(&format!("# TYPE node_network_{name} counter")).count();
        assert_eq!(opened, 1, "{name}: {page}");
    }
    assert!(!page.contains("success{collector=\"netdev\"} 0"), "{page}");
}

/// What `headroom exporter` says before it ends, and its exit code.
fn refused(arguments: &[&str]) -> (String, i32) {
    let output = Command::new(HEADROOM).arg("exporter").args(arguments).output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code().unwrap())
}

#[test]
fn a_wrong_flag_ends_the_start_with_its_name() {
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    for (arguments, want) in [
        (
            &["--web.listen-addres=:1"][..],
            "headroom: there is no flag `--web.listen-addres`; did you mean `--web.listen-address`?\n",
        ),
        (&["--collector.cpu.info=x"], "headroom: --collector.cpu.info: `x` should be true or false\n"),
        (
            &[&listen, "--collector.arp.device-exclude=("],
            "headroom: --collector.arp.device-exclude: `(` is no regular expression",
        ),
        (
            &[
                &listen,
                "--collector.qdisc",
                "--collector.qdisk.device-include=a",
                "--collector.qdisc.device-exclude=b",
            ],
            "headroom: --collector.qdisk.device-include: give either `device_include` or `device_exclude`, and not both\n",
        ),
    ] {
        let (said, code) = refused(arguments);
        assert!(said.lines().any(|line| format!("{line}\n").starts_with(want)), "{arguments:?}: {said}");
        assert_eq!(code, 2, "{arguments:?}");
    }
}

#[test]
fn flags_stand_over_the_file_and_one_warning_names_all_that_have_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (config, address) = (dir.path().join("c.yaml"), free_address());
    let text =
        "exporter: {collectors: {disabled: [stat], stat: {softirq: false}, vmstat: {fields: '^pgfault$'}}}";
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(HEADROOM);
    command.arg("--config").arg(&config).args(["exporter", "--collector.stat", "--collector.stat.softirq"]);
    command.args(["--collector.ntp.server", "10.0.0.1", "--runtime.gomaxprocs=2", "--collector.perf"]);
    command.args(["--no-collector.cpu", &format!("--web.listen-address={address}")]);
    let running = Running::start(&mut command, &dir.path().join("log"));
    let url = format!("http://{address}/metrics");
    let (_, page) = eventually("the exporter answers", 20, || get(&url));
    assert!(
        page.contains("node_softirqs_total{vector=\"hi\"}") && !page.contains("node_cpu_seconds"),
        "{page}"
    );
    let vmstat: Vec<&str> = page.lines().filter(|line| line.starts_with("node_vmstat_")).collect();
    assert!(vmstat.len() == 1 && vmstat[0].starts_with("node_vmstat_pgfault "), "{vmstat:?}");
    let log = running.output();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("no effect")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    let named = "flags=\"--collector.ntp.server=10.0.0.1 --runtime.gomaxprocs=2 --collector.perf\"";
    assert!(warnings[0].contains(named), "{log}");
}
