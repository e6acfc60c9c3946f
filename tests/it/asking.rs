//! What a scrape may ask for: format, coding, collectors, and an answer in time.

use crate::stack::{HEADROOM, Running, eventually, free_address, get};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

struct Exporter {
    running: Running,
    dir: tempfile::TempDir,
    address: SocketAddr,
}

impl Exporter {
    fn start(arguments: impl FnOnce(&std::path::Path) -> Vec<String>) -> Self {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let mut command = Command::new(HEADROOM);
        command.args(["exporter", "--web.listen-address", &address.to_string()]);
        command.args(arguments(dir.path()));
        let running = Running::start(&mut command, &dir.path().join("log"));
        eventually("the exporter answers", 20, || get(&format!("http://{address}/-/healthy")));
        Self { running, dir, address }
    }

    /// Head and body of the answer to a GET of `path` with these header lines.
    fn ask(&self, path: &str, headers: &[&str]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let lines: String = headers.iter().fold(String::new(), |all, line| all + line + "\r\n");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn text(&self, path: &str, headers: &[&str]) -> (String, String) {
        let (head, body) = self.ask(path, headers);
        (head, String::from_utf8(body).unwrap())
    }
}

#[test]
fn the_answer_is_in_the_format_and_coding_that_was_asked_for() {
    let exporter = Exporter::start(|_| vec![]);
    let (head, plain) = exporter.text("/metrics", &[]);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");

    let om = "Accept: application/openmetrics-text;version=1.0.0";
    let (head, body) = exporter.text("/metrics", &[om, "Accept-Encoding: br;q=1"]);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n") && body.contains("# TYPE node_cpu_seconds counter\n"));

    let (head, packed) = exporter.ask("/metrics", &["Accept-Encoding: gzip"]);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut body = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut body).unwrap();
    assert!(body.contains("node_load1 ") && packed.len() * 3 < plain.len(), "{}", packed.len());

    let (head, packed) = exporter.ask("/metrics", &[om, "Accept-Encoding: gzip;q=0.5, zstd"]);
    assert!(head.contains("content-encoding: zstd"), "{head}");
    let body = zstd::bulk::decompress(&packed, 64 << 20).unwrap();
    assert!(body.ends_with(b"# EOF\n"));
}

#[test]
fn collectors_are_picked_as_node_exporter_picks_them() {
    let exporter = Exporter::start(|_| vec!["--no-collector.time".into()]);
    let success = "node_scrape_collector_success{collector=";
    let (_, page) = exporter.text("/metrics?collect[]=loadavg&collect%5B%5D=stat", &[]);
    for (text, shown) in [
        ("node_load1 ", true),
        ("node_boot_time_seconds ", true),
        ("node_memory_MemTotal_bytes ", false),
        ("process_open_fds ", true),
        (&format!("{success}\"loadavg\"}} 1"), true),
        (&format!("{success}\"meminfo\"}}"), false),
    ] {
        assert_eq!(page.contains(text), shown, "{text}: {page}");
    }
    let (_, page) = exporter.text("/metrics?exclude[]=loadavg&exclude[]=nonsense", &[]);
    assert!(!page.contains("node_load1 ") && page.contains("node_memory_MemTotal_bytes "), "{page}");

    let create = "Couldn't create filtered metrics handler: couldn't create collector:";
    for (query, why) in [
        ("collect[]=cpu&exclude[]=stat", "Combined collect and exclude queries are not allowed.".into()),
        ("collect[]=nonsense", format!("{create} missing collector: nonsense")),
        ("collect[]=time", format!("{create} disabled collector: time")),
    ] {
        let (head, body) = exporter.text(&format!("/metrics?{query}"), &[]);
        assert!(head.starts_with("HTTP/1.1 400") && body.trim_end() == why, "{head}\n{body}");
    }
}

#[test]
fn a_collector_that_hangs_is_left_out_in_time_and_holds_one_thread() {
    hangs("loadavg", &["loadavg"]);
}

#[test]
fn a_file_that_hangs_costs_those_who_share_its_reading_and_nobody_else() {
    // So hangs /proc/stat in a container whose LXCFS is gone.
    hangs("stat", &["cpu", "stat"]);
}

/// Has an exporter read a host where one file cannot be opened, of which these collectors want to read.
fn hangs(file: &str, collectors: &[&str]) {
    // Whoever opens a pipe that nobody writes to waits.
    let exporter = Exporter::start(|dir| {
        let pipe = Command::new("mkfifo").arg(dir.join(file)).status().unwrap();
        assert!(pipe.success());
        std::os::unix::fs::symlink("/proc/meminfo", dir.join("meminfo")).unwrap();
        let names = ["disable-defaults", "meminfo"].iter().chain(collectors);
        let mut arguments: Vec<String> = names.map(|name| format!("--collector.{name}")).collect();
        arguments.push("--web.disable-exporter-metrics".into());
        arguments.push(format!("--path.procfs={}", dir.display()));
        arguments
    });
    let threads = || std::fs::read_dir(format!("/proc/{}/task", exporter.running.pid())).unwrap().count();
    let mut counts = Vec::new();
    for _ in 0..4 {
        let begun = Instant::now();
        let (head, page) = exporter.text("/metrics", &["X-Prometheus-Scrape-Timeout-Seconds: 3"]);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{page}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        for name in collectors {
            assert!(
                page.contains(&format!("node_scrape_collector_success{{collector=\"{name}\"}} 0\n")),
                "{page}"
            );
        }
        assert!(page.contains("node_memory_MemTotal_bytes "), "{page}");
        counts.push(threads());
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    let log = exporter.running.output();
    assert_eq!(log.matches("collector hangs").count(), 1, "{log}");

    // The pipe's writer comes: the collector returns, and its thread ends.
    let _writer = std::fs::File::options().write(true).open(exporter.dir.path().join(file)).unwrap();
    eventually("the thread ends", 20, || (threads() < counts[0]).then_some(()));
}
