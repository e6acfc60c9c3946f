//! The collector `containers`: captured hosts, the paths of all runtimes, and a group that the test makes.

use crate::cgroups::LiveGroup;
use crate::page::{check_golden, collector, host, page, value};
use headroom::collect::{Options, containers};
use headroom::host::Host;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

const UID: &str = "6b7ad5ab-1111-2222-3333-0123456789ab";
const LIMIT: u64 = 64 << 20;

fn options(containers: containers::Options) -> Options {
    Options { containers, ..Options::default() }
}

fn page_of(host: &Host, options: containers::Options) -> String {
    page(&mut *collector("containers", host, &self::options(options)), host)
}

/// The page with the two families whose values depend on when the test runs and when its files were made set to one value.
fn timeless(page: &str) -> String {
    let still = |line: &str| match line.rsplit_once(' ') {
        Some((series, _)) if line.starts_with("container_last_seen{") => format!("{series} 1800000000\n"),
        Some((series, _)) if line.starts_with("container_start_time_seconds{") => {
            format!("{series} 1700000000\n")
        }
        _ => format!("{line}\n"),
    };
    page.lines().map(still).collect()
}

/// The lines of a family's samples.
fn samples<'a>(page: &'a str, family: &str) -> Vec<&'a str> {
    page.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'))).collect()
}

fn id_of(digits: &str) -> String {
    digits.chars().cycle().take(64).collect()
}

#[test]
fn captured_hosts_of_all_kinds_have_cadvisors_families() {
    for name in ["cgroup-v1", "cgroup-v2", "cgroup-hybrid", "containers-v1", "containers-v2"] {
        let page = page_of(&host(name), containers::Options::default());
        let golden = if name.starts_with("cgroup") { format!("containers-{name}") } else { name.to_owned() };
        check_golden(&golden, &timeless(&page));
    }
}

#[test]
fn containers_of_every_runtime_are_told_from_slices_services_and_monitors() {
    let v2 = page_of(&host("containers-v2"), containers::Options::default());
    let v1 = page_of(&host("containers-v1"), containers::Options::default());
    for (page, docker, podman) in [
        (&v2, "/system.slice/docker-ID.scope", "/machine.slice/libpod-ID.scope"),
        (&v1, "/docker/ID", "/libpod_parent/libpod-ID"),
    ] {
        for (path, digits) in [(docker, "d0c4e1"), (podman, "90d")] {
            let (path, id) = (path.replace("ID", &id_of(digits)), id_of(digits));
            let series = format!(
                "container_threads{{container=\"\",id=\"{path}\",name=\"{id}\",namespace=\"\",pod=\"\"}}"
            );
            assert!(value(page, &series).is_some(), "{series}");
        }
        let named =
            samples(page, "container_threads").into_iter().filter(|l| l.contains("container=\"nginx\""));
        let named: Vec<&str> = named.collect();
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(named[0].contains("namespace=\"shop\",pod=\"web-7d9f\""), "{named:?}");
        assert!(page.contains("pod=\"0123456789abcdef0123456789abcdef\""), "a pod without logs has its UID");
    }
    assert!(!v2.contains(".mount"), "groups of mounts are left out");
    let monitor = format!("id=\"/machine.slice/libpod-conmon-{}.scope\",name=\"\"", id_of("90d"));
    assert!(v2.contains(&monitor), "a monitor is a group like any other");
}

#[test]
fn the_numbers_are_cadvisors() {
    let page = page_of(&host("containers-v2"), containers::Options::default());
    let id = id_of("d0c4e1");
    let of = |family: &str, more: &str| {
        let labels = format!(
            "container=\"\",id=\"/system.slice/docker-{id}.scope\",name=\"{id}\",namespace=\"\",pod=\"\"{more}"
        );
        value(&page, &format!("{family}{{{labels}}}"))
    };
    let memory = (100.0 + 250.0 + 9.0) * 7.0 * 4096.0;
    assert_eq!(of("container_memory_usage_bytes", ""), Some(memory));
    assert_eq!(of("container_memory_working_set_bytes", ""), Some(memory - 60.0 * 7.0 * 4096.0));
    assert_eq!(of("container_spec_memory_limit_bytes", ""), Some(f64::from(64 << 20)));
    assert_eq!(of("container_spec_memory_swap_limit_bytes", ""), Some(0.0), "no limit");
    assert_eq!(of("container_oom_events_total", ""), Some(1.0));
    assert_eq!(of("container_cpu_usage_seconds_total", ",cpu=\"total\""), Some(8.641_969));
    assert_eq!(of("container_cpu_cfs_throttled_periods_total", ""), Some(21.0));
    assert_eq!(of("container_spec_cpu_quota", ""), Some(50_000.0));
    assert_eq!(of("container_fs_reads_bytes_total", ",device=\"/dev/sda\""), Some(2_867_200.0));
    assert_eq!(of("container_pressure_memory_waiting_seconds_total", ""), Some(0.0021));
    assert_eq!((of("container_processes", ""), of("container_threads", "")), (Some(2.0), Some(6.0)));
    let root = samples(&page, "container_memory_usage_bytes").into_iter().find(|l| l.contains("id=\"/\""));
    assert!(root.unwrap().ends_with(&format!(" {}", 350 * 100 * 4096)), "{root:?}");
    assert!(samples(&page, "container_cpu_cfs_periods_total").len() == 2, "only where a quota is set");
}

#[test]
fn groups_beyond_the_bound_on_series_are_left_out_whole_and_counted_and_containers_go_last() {
    let host = host("containers-v2");
    let all = page_of(&host, containers::Options::default());
    let series = |page: &str| page.lines().filter(|l| l.starts_with("container_")).count();
    let count = |page: &str| samples(page, "container_last_seen").len() as f64;
    assert_eq!(value(&all, "headroom_containers_cut"), Some(0.0));
    for series_max in [0, 1, 30, 100, 300, series(&all) - 1, series(&all)] {
        let page = page_of(&host, containers::Options { series_max, ..Default::default() });
        assert!(series(&page) <= series_max, "{series_max}");
        assert_eq!(value(&page, "headroom_containers_cut"), Some(count(&all) - count(&page)), "{series_max}");
        // Every group that is shown is shown with all of its families.
        for line in samples(&page, "container_last_seen") {
            let id = line.split("id=\"").nth(1).unwrap().split('"').next().unwrap();
            let of = |page: &str| page.lines().filter(|l| l.contains(&format!("id=\"{id}\""))).count();
            assert_eq!(of(&page), of(&all), "{id}");
        }
    }
    let page = page_of(&host, containers::Options { series_max: 330, ..Default::default() });
    assert!(page.contains("docker-d0c4e1") && !page.contains("ssh.service"), "{page}");
}

#[test]
fn a_network_is_shown_once_at_the_pod_or_container_that_has_it_and_the_hosts_at_the_root() {
    let page = page_of(&host("containers-v2"), containers::Options::default());
    let received = samples(&page, "container_network_receive_bytes_total");
    let of = |part: &str| -> Vec<&str> { received.iter().filter(|l| l.contains(part)).copied().collect() };
    assert_eq!(received.len(), 5, "{received:?}");
    assert!(of("id=\"/\"")[0].contains("interface=\"eth0\"} 9000000"), "not lo, docker0, veth12ab");
    assert!(of("docker-d0c4e1")[0].ends_with("interface=\"eth0\"} 125000"));
    let pod = of("pod=\"web-7d9f\"");
    assert!(pod.len() == 1 && pod[0].contains(".slice\",") && pod[0].ends_with(" 777000"), "{pod:?}");
    assert_eq!(of("libpod-").len(), 2, "its process is one group further down");
    assert!(of("crio-").is_empty(), "it has the host's network");
    for (family, count) in [
        ("transmit_packets_total", 190.0),
        ("receive_packets_dropped_total", 5.0),
        ("transmit_errors_total", 1.0),
    ] {
        let line = samples(&page, &format!("container_network_{family}"));
        let line = line.into_iter().find(|l| l.contains("docker-d0c4e1")).unwrap();
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
}

#[test]
fn files_held_open_are_those_of_the_processes_of_a_container() {
    let page = page_of(&host("containers-v2"), containers::Options::default());
    let of = |part: &str| {
        let all = samples(&page, "container_file_descriptors");
        all.into_iter().find(|l| l.contains(part)).map(|l| l.rsplit_once(' ').unwrap().1.to_owned())
    };
    assert_eq!(of("docker-d0c4e1").as_deref(), Some("8"));
    assert_eq!(of("cri-containerd-c1").as_deref(), Some("6"));
    assert_eq!(of("ssh.service"), None, "of containers only");
    let v1 = page_of(&host("containers-v1"), containers::Options::default());
    assert!(
        !v1.contains("container_file_descriptors") || !v1.contains("container_network_"),
        "no such processes"
    );
}

#[test]
fn a_container_of_this_kernel_with_a_network_of_its_own_has_its_devices_and_files() {
    let id = id_of("ab5e");
    let Some(group) = LiveGroup::make_named(&format!("docker-{id}.scope"), LIMIT) else { return };
    let host = Host::default();
    // Another one each time: of v1 the kernel keeps a list of processes for a second for whoever has it open.
    let look = || page(&mut *collector("containers", &host, &Options::default()), &host);
    let start = |command: &str| {
        let script = format!("echo $$ > '{}/cgroup.procs' && exec {command}", group.path.display());
        std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap()
    };
    let of = |page: &str, family: &str| -> Vec<String> {
        let all = samples(page, family).into_iter();
        all.filter(|l| l.contains(&id)).map(str::to_owned).collect()
    };
    let mut plain = start("sleep 60");
    let page = crate::stack::eventually("the process", 20, || {
        let page = look();
        of(&page, "container_processes").first().is_some_and(|l| l.ends_with(" 1")).then_some(page)
    });
    let files = of(&page, "container_file_descriptors");
    assert!(files.len() == 1 && !files[0].ends_with(" 0"), "{files:?}");
    assert!(
        of(&page, "container_network_receive_bytes_total").is_empty(),
        "the host's network is not its own"
    );
    plain.kill().unwrap();
    plain.wait().unwrap();
    let mut apart =
        start("unshare --net sh -c 'ip link add mine type veth peer name theirs && exec sleep 60'");
    let shown = crate::stack::eventually("the device", 20, || {
        let ended = apart.try_wait().unwrap();
        let shown = of(&look(), "container_network_transmit_packets_total");
        (ended.is_some() || !shown.is_empty()).then_some(shown)
    });
    _ = apart.kill();
    _ = apart.wait();
    let Some(line) = shown.first() else {
        eprintln!("SKIPPED: no network of one's own can be made here");
        return;
    };
    assert!(line.contains("interface=\"mine\"") || line.contains("interface=\"theirs\""), "{line}");
}

#[test]
fn only_containers_and_pods_can_be_asked_for() {
    let page =
        page_of(&host("containers-v2"), containers::Options { only_containers: true, ..Default::default() });
    assert!(page.contains("id=\"/\"") && page.contains("docker-") && page.contains("crio-"));
    assert!(page.contains(&format!("kubepods-burstable-pod{}.slice\"", UID.replace('-', "_"))));
    assert!(
        !page.contains("ssh.service") && !page.contains("conmon") && !page.contains("id=\"/system.slice\"")
    );
}

#[test]
fn the_start_is_the_groups_own_and_never_before_the_machines() {
    let dir = tempfile::tempdir().unwrap();
    let groups = dir.path().join("sys/fs/cgroup");
    for (name, seconds) in [("old.slice", 1_600_000_000), ("new.slice", 1_750_000_000)] {
        let group = groups.join(name);
        std::fs::create_dir_all(&group).unwrap();
        for file in ["cgroup.events", "cpu.stat"] {
            std::fs::write(group.join(file), "usage_usec 1\n").unwrap();
        }
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(group.join("cgroup.events")).unwrap().set_modified(time).unwrap();
    }
    std::fs::write(groups.join("cgroup.controllers"), "cpu memory\n").unwrap();
    std::fs::create_dir(dir.path().join("proc")).unwrap();
    std::fs::write(dir.path().join("proc/stat"), "btime 1700000000\n").unwrap();
    let host = Host { procfs: dir.path().join("proc"), sysfs: dir.path().join("sys"), ..Host::default() };
    let page = page_of(&host, containers::Options::default());
    let start =
        |name| value(&page, &format!("container_start_time_seconds{{id=\"/{name}.slice\",name=\"\"}}"));
    assert_eq!((start("old"), start("new")), (Some(1.7e9), Some(1.75e9)), "{page}");
}

#[test]
fn a_runtimes_socket_gives_names_and_images_after_the_pass_that_missed_them() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    serve(&socket, &id_of("d0c4e1"));
    let host = host("containers-v2");
    let options = containers::Options { name_sockets: vec![socket], ..Default::default() };
    let mut collector = collector("containers", &host, &self::options(options));
    let begun = Instant::now();
    loop {
        let page = page(&mut *collector, &host);
        if page.contains("image=\"nginx:1.29\",name=\"web\"") {
            assert!(!page.contains(&format!("name=\"{}\"", id_of("d0c4e1"))));
            return;
        }
        assert!(page.contains(&format!("name=\"{}\"", id_of("d0c4e1"))), "until then it has its id");
        assert!(begun.elapsed() < Duration::from_secs(20), "the name never came");
        std::thread::yield_now();
    }
}

/// A runtime that answers one request.
fn serve(socket: &Path, id: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    let body = format!(r#"[{{"Id":"{id}","Names":["/web"],"Image":"nginx:1.29"}}]"#);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        _ = stream.read(&mut [0; 1024]).unwrap();
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
    });
}

#[test]
fn a_socket_that_is_not_there_costs_names_and_nothing_else() {
    let host = host("containers-v2");
    let options = containers::Options { name_sockets: vec!["/nonexistent".into()], ..Default::default() };
    let mut collector = collector("containers", &host, &self::options(options));
    let plain = timeless(&page_of(&host, containers::Options::default()));
    for _ in 0..3 {
        assert_eq!(timeless(&page(&mut *collector, &host)), plain);
    }
}

#[test]
fn a_group_of_this_kernel_is_shown_until_it_is_removed_and_anew_when_it_is_made_again() {
    let Some(group) = LiveGroup::make("containers", LIMIT) else { return };
    let host = Host::default();
    let mut collector = collector("containers", &host, &Options::default());
    let name = group.name.clone();
    // Other programs may run containers here, and give the page more labels.
    let of = |page: &str, family: &str| -> Option<f64> {
        let line = samples(page, family).into_iter().find(|l| l.contains(&format!("id=\"{name}\"")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    let before = page(&mut *collector, &host);
    assert_eq!(of(&before, "container_spec_memory_limit_bytes"), Some(LIMIT as f64));
    assert_eq!(of(&before, "container_processes").unwrap_or(0.0), 0.0);
    let start = of(&before, "container_start_time_seconds").unwrap();
    let seen = of(&before, "container_last_seen").unwrap();
    assert!((-5.0..60.0).contains(&(seen - start)), "made {start}, seen {seen}");
    let mut child = group.hold(20_000_000);
    let grown = page(&mut *collector, &host);
    child.kill().unwrap();
    child.wait().unwrap();
    for family in
        ["container_memory_usage_bytes", "container_memory_working_set_bytes", "container_memory_rss"]
    {
        let bytes = of(&grown, family).unwrap();
        assert!((19e6..64e6).contains(&bytes), "{family} {bytes}");
    }
    drop(group);
    assert_eq!(of(&page(&mut *collector, &host), "container_memory_rss"), None);
    // Of the same name, and another one: nothing of the first may be shown for it.
    let Some(_group) = LiveGroup::make("containers", 2 * LIMIT) else { return };
    let again = page(&mut *collector, &host);
    assert_eq!(of(&again, "container_spec_memory_limit_bytes"), Some(2.0 * LIMIT as f64));
    assert!(of(&again, "container_memory_rss").unwrap() < 19e6);
    assert!(of(&again, "container_start_time_seconds").unwrap() >= start);
}

#[test]
fn a_file_that_is_cut_at_any_byte_costs_its_own_group_and_no_number_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let group = |name: &str| dir.path().join("sys/fs/cgroup").join(name);
    for name in ["good.slice", "cut.slice"] {
        std::fs::create_dir_all(group(name)).unwrap();
        for (file, text) in [
            ("cpu.stat", "usage_usec 1234567\nuser_usec 1000000\n"),
            ("memory.stat", "anon 123456\nfile 789012\ninactive_file 4096\n"),
            ("memory.current", "1234567\n"),
            ("io.stat", "8:0 rbytes=4096 wbytes=8192 rios=11 wios=22 dbytes=0 dios=0\n"),
            ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345\n"),
        ] {
            std::fs::write(group(name).join(file), text).unwrap();
        }
    }
    std::fs::write(group("cgroup.controllers"), "cpu memory io\n").unwrap();
    let host = Host { procfs: dir.path().join("proc"), sysfs: dir.path().join("sys"), ..Host::default() };
    let whole = timeless(&page_of(&host, containers::Options::default()));
    let good = |page: &str| page.lines().filter(|l| l.contains("good.slice")).count();
    for file in ["cpu.stat", "memory.stat", "memory.current", "io.stat", "cpu.pressure"] {
        let path = group("cut.slice").join(file);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let page = timeless(&page_of(&host, containers::Options::default()));
            assert_eq!(good(&page), good(&whole), "{file} cut at {cut}");
            let stranger = page.lines().find(|line| !whole.contains(line));
            assert_eq!(stranger, None, "{file} cut at {cut}");
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_machine_without_control_groups_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host { sysfs: dir.path().into(), ..Host::default() };
    let mut out = headroom::encode::text::TextEncoder::default();
    let mut collector = collector("containers", &host, &Options::default());
    let error = collector.collect(&host, &mut out).unwrap_err().to_string();
    assert_eq!(error, "a control group hierarchy is not there");
}
