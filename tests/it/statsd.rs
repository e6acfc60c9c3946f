//! The StatsD receiver as a process: datagrams of both kinds, a mapping file that is read again, and floods that harm nothing.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, metric};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

struct Exporter {
    running: Running,
    page: SocketAddr,
    udp: SocketAddr,
    unix: PathBuf,
    dir: tempfile::TempDir,
}

impl Exporter {
    fn start(mapping: &str) -> Self {
        let (page, udp) = (free_address(), free_address());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mapping.yml"), mapping).unwrap();
        let file = dir.path().join("headroom.yaml");
        let text = format!(
            "exporter: {{listen: '{page}', page_age_max: 0s, collectors: {{disable_defaults: true, enabled: [time]}}}}\n\
             applications:\n  statsd: {{udp: '{udp}', unix: statsd.sock, mapping_file: mapping.yml}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(HEADROOM);
        command.arg("exporter").arg("--config").arg(&file);
        let running = Running::start(&mut command, &dir.path().join("log"));
        eventually("the exporter", 30, || get(&format!("http://{page}/-/ready")));
        let unix = dir.path().join("statsd.sock");
        Self { running, page, udp, unix, dir }
    }

    fn send(&self, packet: &[u8]) {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(packet, self.udp).unwrap();
    }

    fn page(&self) -> String {
        let (status, page) = get(&format!("http://{}/metrics", self.page)).unwrap();
        assert_eq!(status, 200, "{page}");
        page
    }

    /// Waits until a series has a value.
    fn wait(&self, series: &str, value: f64) {
        eventually(&format!("{series} {value}"), 30, || {
            (crate::page::value(&self.page(), series) == Some(value)).then_some(())
        });
    }
}

#[test]
fn datagrams_become_series_and_bad_ones_are_counted() {
    let mut exporter =
        Exporter::start("mappings: [{match: 'web.*.time', name: web_seconds, labels: {page: $1}}]\n");
    exporter.send(b"hits:2|c|#job:shop\nbad\nweb.home.time:250|ms");
    exporter.wait("hits{job=\"statsd\",exported_job=\"shop\"}", 2.0);
    exporter.wait("web_seconds_sum{job=\"statsd\",page=\"home\"}", 0.25);
    exporter.wait("web_seconds{job=\"statsd\",page=\"home\",quantile=\"0.99\"}", 0.25);
    let page = exporter.page();
    assert_eq!(metric(&page, "headroom_statsd_refused_total{reason=\"malformed_line\"}"), 1.0);
    assert_eq!(metric(&page, "headroom_statsd_samples_total{result=\"mapped\"}"), 1.0);
    assert_eq!(metric(&page, "headroom_statsd_mappings"), 1.0);

    assert_eq!(std::fs::metadata(&exporter.unix).unwrap().permissions().mode() & 0o777, 0o660);
    let local = UnixDatagram::unbound().unwrap();
    local.send_to(b"hits:3|c|#job:shop", &exporter.unix).unwrap();
    exporter.wait("hits{job=\"statsd\",exported_job=\"shop\"}", 5.0);
    assert_eq!(metric(&exporter.page(), "headroom_statsd_packets_total{transport=\"unixgram\"}"), 1.0);

    // Another mapping after a reload, and the old one if the new one is a mistake.
    let mapping = exporter.dir.path().join("mapping.yml");
    std::fs::write(&mapping, "mappings: [{match: 'a.*', name: b_$1}]\n").unwrap();
    exporter.running.signal(rustix::process::Signal::HUP);
    eventually("the reload", 30, || exporter.running.output().contains("is in use").then_some(()));
    exporter.send(b"a.c:1|c");
    exporter.wait("b_c{job=\"statsd\"}", 1.0);
    std::fs::write(&mapping, "mappings: [{match: 'a.*', nam: b}]\n").unwrap();
    exporter.running.signal(rustix::process::Signal::HUP);
    let said = eventually("the refusal", 30, || {
        let output = exporter.running.output();
        output.contains("the old one stays").then_some(output)
    });
    assert!(said.contains("did you mean `name`?"), "{said}");
    exporter.send(b"a.c:1|c");
    exporter.wait("b_c{job=\"statsd\"}", 2.0);

    exporter.running.signal(rustix::process::Signal::TERM);
    assert!(exporter.running.end(30).success());
    assert!(!exporter.unix.exists(), "the socket's file stays behind");
}

#[test]
fn a_flood_of_names_stays_within_the_limits_and_pages_come() {
    let exporter = Exporter::start("");
    let local = UnixDatagram::unbound().unwrap();
    local.connect(&exporter.unix).unwrap();
    for packet in 0..600 {
        // A socket of the file system waits where UDP would drop.
        let line = |line| format!("flood.{packet}.{line}:1|c\nflood.{packet}.{line}.t:1|ms\n");
        let lines = (0..50).map(line).collect::<Vec<_>>().concat();
        local.send(lines.as_bytes()).unwrap();
        if packet % 100 == 0 {
            exporter.page();
        }
    }
    local.send(b"last:1|g|#x:y").unwrap();
    eventually("the flood is over", 60, || {
        let packets = metric(&exporter.page(), "headroom_statsd_packets_total{transport=\"unixgram\"}");
        (packets == 601.0).then_some(())
    });
    let page = exporter.page();
    assert!(metric(&page, "headroom_apps_series") <= 20_000.0);
    assert!(metric(&page, "headroom_statsd_held_bytes") <= (9 << 20).into());
    let refused: f64 = page
        .lines()
        .filter(|l| {
            l.starts_with("headroom_apps_points_refused_total{input=\"statsd\"")
                || l.contains("reason=\"memory\"")
        })
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(refused > 1000.0, "{refused}");
    assert_eq!(metric(&page, "headroom_statsd_lines_total"), 60_001.0);
}
