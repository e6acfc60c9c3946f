//! Pages of applications that are fetched and shown: their series, their limits, and what becomes of a dead one.

use crate::page::value;
use crate::stack::{HEADROOM, Running, eventually, free_address, get, metric};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// An application whose page can be changed.
struct Application {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Application {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let application =
            Self { address: listener.local_addr().unwrap(), answer: Arc::default(), heads: Arc::default() };
        let (answer, heads) = (Arc::clone(&application.answer), Arc::clone(&application.heads));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                heads.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
                let answer = answer.lock().unwrap().clone();
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        application
    }

    fn show(&self, status: &str, content_type: &str, body: &str) {
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}

#[test]
fn pages_of_applications_are_on_ours_and_a_dead_one_costs_its_own_samples() {
    let (shop, other, dead, page) =
        (Application::start(), Application::start(), free_address(), free_address());
    shop.show("200 OK", "text/plain", "# TYPE hits counter\nhits 5\ngone 1\n# TYPE t histogram\nt_bucket{le=\"1\"} 1\nt_bucket{le=\"+Inf\"} 2\nt_sum 3\nt_count 2\ngo_x 1\nprocess_open_fds 3\n");
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    other.show(
        "200 OK",
        open,
        "# TYPE hits counter\nhits_total{job=\"own\"} 7 1700000000.5 # {trace_id=\"ab\"} 1\n# EOF\n",
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let file = dir.path().join("headroom.yaml");
    let scrape = format!(
        "  scrape:\n  - {{job: shop, url: 'http://{}/metrics', interval: 1s, timeout: 1s, token_file: token, headers: {{X-Tenant: t}},\n     \
         metric_relabel: [{{action: drop, source_labels: [__name__], regex: 'go_.*'}}]}}\n  \
         - {{job: other, url: 'http://{}/x?y=z', instance: two, interval: 1s, timeout: 1s, honor_labels: true}}\n",
        shop.address, other.address
    );
    let lone = format!("  - {{job: dead, url: 'http://{dead}/', interval: 1s, timeout: 1s}}\n");
    let head = format!(
        "exporter: {{listen: '{page}', page_age_max: 0s, collectors: {{disable_defaults: true, enabled: [time]}}}}\napplications:\n"
    );
    std::fs::write(&file, format!("{head}{scrape}{lone}")).unwrap();
    let mut command = Command::new(HEADROOM);
    command.arg("exporter").arg("--config").arg(&file);
    let running = Running::start(&mut command, &dir.path().join("log"));
    let shown = || get(&format!("http://{page}/metrics")).map_or(String::new(), |(_, page)| page);
    let hits = format!("hits{{job=\"shop\",instance=\"{}\"}}", shop.address);
    let wait = |series: &str, wanted: Option<f64>| {
        eventually(&format!("{series} {wanted:?}"), 60, || (value(&shown(), series) == wanted).then_some(()));
    };
    let labels = |job: &str, address: SocketAddr| format!("{{instance=\"{address}\",job=\"{job}\"}}");
    let up = |job: &str, address| format!("headroom_scrape_up{}", labels(job, address));
    wait(&hits, Some(5.0));
    // With the time that it came with.
    let own = "hits_total{job=\"own\",instance=\"two\"} 7 1700000000500\n";
    eventually("the other page", 60, || shown().contains(own).then_some(()));
    wait(&up("dead", dead), Some(0.0));
    let text = shown();
    assert!(!text.contains("go_x"), "{text}");
    assert_eq!(metric(&text, &format!("t_sum{{job=\"shop\",instance=\"{}\"}}", shop.address)), 3.0);
    assert_eq!(
        metric(&text, &format!("headroom_scrape_samples_scraped{}", labels("shop", shop.address))),
        8.0
    );
    let kept = format!("headroom_scrape_samples_post_metric_relabeling{}", labels("shop", shop.address));
    assert_eq!(metric(&text, &kept), 7.0);
    // What an application says of its process stands with the exporter's own.
    assert_eq!(
        metric(&text, &format!("process_open_fds{{job=\"shop\",instance=\"{}\"}}", shop.address)),
        3.0
    );
    assert!(metric(&text, "process_open_fds") > 3.0 && text.matches("# TYPE process_open_fds ").count() == 1);
    assert_eq!(metric(&text, &up("shop", shop.address)), 1.0);
    let asked = shop.heads.lock().unwrap()[0].clone();
    for part in [
        "get /metrics http/1.1",
        "authorization: bearer s3cret",
        "x-tenant: t",
        "accept: application/openmetrics-text",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }

    // What is no longer on the page goes at once, and so does a page that is none, with its own series alone.
    shop.show("200 OK", "text/plain", "# TYPE hits counter\nhits 6\n");
    wait(&hits, Some(6.0));
    assert!(!shown().contains("gone{"), "{}", shown());
    for (status, body, reason) in [("500 Oh", "hits 6\n", "status"), ("200 OK", "<html>", "malformed")] {
        shop.show(status, "text/plain", body);
        let address = shop.address;
        let series = format!(
            "headroom_scrape_failures_total{{instance=\"{address}\",job=\"shop\",reason=\"{reason}\"}}"
        );
        eventually(&series, 60, || value(&shown(), &series));
        assert_eq!(value(&shown(), &hits), None);
        assert!(shown().contains(own));
    }
    shop.show("200 OK", "text/plain", "hits 7\n");
    wait(&hits, Some(7.0));
    let many = (0..10_001).map(|i| format!("m{i} 1\n")).collect::<Vec<_>>().concat();
    shop.show("200 OK", "text/plain", &many);
    wait(&up("shop", shop.address), Some(0.0));
    assert!(!shown().contains("\nm1{"));

    // Other targets with a reload.
    std::fs::write(&file, format!("{head}  scrape:\n{lone}")).unwrap();
    running.signal(rustix::process::Signal::HUP);
    eventually("the other page is gone", 60, || (!shown().contains("hits_total")).then_some(()));
    wait(&up("shop", shop.address), None);
    wait(&up("dead", dead), Some(0.0));
}
