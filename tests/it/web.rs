//! Listeners with a web configuration, asked by those who really ask: Prometheus, curl, and strangers.

use crate::certificates::Certificates;
use crate::stack::{
    HEADROOM, Optimizer, Running, alert, eventually, free_address, get, metric, notification, program,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Of `s3cret`, by libxcrypt, with the cost that `htpasswd` takes by default.
pub(crate) const HASH: &str = "$2b$05$cKkdTK//ek2Ilvd1.9.S9.azR6Tb6yiWjOHOJYji/oVfeRzneN3he";
const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";

fn users() -> String {
    format!("basic_auth_users: {{ann: {HASH}}}\n")
}

/// An exporter with a web configuration and its certificates.
struct Exporter {
    certificates: Certificates,
    address: SocketAddr,
    running: Running,
}

impl Exporter {
    fn start(web: &str, more: &[&str]) -> Self {
        let (certificates, address) = (Certificates::new(), free_address());
        let mut command = Command::new(HEADROOM);
        command
            .args(["exporter", "--log-level=trace", "--web.listen-address", &address.to_string()])
            .args(more);
        command.arg("--web.config.file").arg(certificates.config(web));
        let running = Running::start(&mut command, &certificates.path("log"));
        eventually("the exporter listens", 20, || TcpStream::connect(address).ok());
        Self { certificates, address, running }
    }

    /// What curl gets from a page with these arguments: the status (0 without an answer), and the answer with its head.
    fn curl(&self, scheme: &str, path: &str, arguments: &[&str]) -> (u16, String) {
        let url = format!("{scheme}://localhost:{}{path}", self.address.port());
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "20", "-w", "\n%{http_code}", "--resolve"]);
        command
            .arg(format!("localhost:{}:127.0.0.1", self.address.port()))
            .current_dir(self.certificates.0.path());
        if !arguments.contains(&"--cacert") {
            command.args(["--cacert", "ca.crt"]);
        }
        let output = command.args(arguments).arg(url).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), answer.to_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// A value of the page, asked for over TLS as ann.
    fn metric(&self, series: &str) -> f64 {
        metric(&self.curl("https", "/metrics", &["-u", "ann:s3cret"]).1, series)
    }
}

#[test]
fn a_real_prometheus_scrapes_with_a_password_and_with_a_certificate() {
    let Some(program) = program(&["prometheus"]) else { return };
    let policy = "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [prometheus.example]";
    let both = [
        Exporter::start(&(TLS.to_owned() + &users()), &[]),
        Exporter::start(&TLS.replace('}', &format!(", {policy}}}")), &[]),
    ];
    let job = |name: &str, of: &Exporter, pair: Option<&str>, more: &str| {
        let path = |name: String| of.certificates.path(&name).display().to_string();
        let mut tls = serde_json::json!({ "ca_file": path("ca.crt".into()), "server_name": "localhost" });
        if let Some(pair) = pair {
            (tls["cert_file"], tls["key_file"]) =
                (path(format!("{pair}.crt")).into(), path(format!("{pair}.key")).into());
        }
        let address = of.address;
        format!(
            "  - {{job_name: {name}, scheme: https, tls_config: {tls}, static_configs: [{{targets: ['{address}']}}]{more}}}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let text = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned()
        + &job("password", &both[0], None, ", basic_auth: {username: ann, password: s3cret}")
        + &job("wrong", &both[0], None, ", basic_auth: {username: ann, password: secret}")
        + &job("certificate", &both[1], Some("client"), "")
        + &job("stranger", &both[1], Some("stranger"), "")
        + &job("other", &both[1], Some("other"), "");
    std::fs::write(dir.path().join("p.yml"), text).unwrap();
    let prometheus = free_address();
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", dir.path().join("p.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    command.arg(format!("--web.listen-address={prometheus}"));
    let running = Running::start(&mut command, &dir.path().join("log"));
    let targets = || {
        let (_, body) = get(&format!("http://{prometheus}/api/v1/targets"))?;
        let body: serde_json::Value = serde_json::from_str(&body).ok()?;
        let all = body["data"]["activeTargets"].as_array()?.clone();
        (all.len() == 5 && all.iter().all(|t| t["health"] != "unknown")).then_some(all)
    };
    let healths = eventually("all targets were scraped", 60, targets);
    for target in healths {
        let (name, health) = (target["labels"]["job"].as_str().unwrap(), &target["health"]);
        let expected = if ["password", "certificate"].contains(&name) { "up" } else { "down" };
        assert_eq!(health, expected, "{name}: {target:#}\n{}", running.output());
    }
    // The password was looked at once, and remembered.
    eventually("a few more scrapes", 30, || {
        (both[0]
            .metric("headroom_http_requests_total{code=\"200\",handler=\"metrics\",listener=\"exporter\"}")
            > 4.0)
            .then_some(())
    });
    let log = both[0].running.output();
    assert!(
        !log.contains("s3cret") && !log.contains("$2b$") && !log.contains("YW5u"),
        "a secret in the log:\n{log}"
    );
}

#[test]
fn only_who_knows_user_and_password_gets_a_page() {
    let headers = "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: 0}}\n";
    let exporter = Exporter::start(&(TLS.to_owned() + &users() + headers), &[]);
    for path in ["/metrics", "/", "/-/healthy", "/nothing"] {
        let (status, answer) = exporter.curl("https", path, &[]);
        assert_eq!(status, 401, "{path}: {answer}");
        let lower = answer.to_lowercase();
        assert!(
            lower.contains("www-authenticate: basic realm=") && lower.contains("x-frame-options: deny"),
            "{answer}"
        );
    }
    for wrong in ["ann:secret", "ann:", "eve:s3cret", ":", "ann:s3cret "] {
        assert_eq!(exporter.curl("https", "/metrics", &["-u", wrong]).0, 401, "{wrong}");
    }
    assert_eq!(exporter.curl("https", "/metrics", &["-H", "Authorization: Bearer s3cret"]).0, 401);
    let (status, answer) = exporter.curl(
        "https",
        "/metrics",
        &["-u", "ann:s3cret", "-H", "Accept-Encoding: gzip", "-o", "/dev/null", "-D", "-"],
    );
    let lower = answer.to_lowercase();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    for line in [
        "vary: accept, accept-encoding",
        "content-encoding: gzip",
        "x-frame-options: deny",
        "x-xss-protection: 0",
    ] {
        assert!(lower.contains(line), "{line} is not in {answer}");
    }
    let count = |reason: &str| {
        exporter.metric(&format!(
            "headroom_http_auth_failures_total{{listener=\"exporter\",reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(
        (count("missing"), count("wrong"), count("malformed"), count("limited")),
        (4.0, 5.0, 1.0, 0.0)
    );
}

#[test]
fn both_versions_of_http_and_head_work_over_tls_and_neither_without_it() {
    let exporter = Exporter::start(TLS, &[]);
    for (arguments, version) in [
        (&[][..], "HTTP/2 200"),
        (&["--http1.1"], "HTTP/1.1 200"),
        (&["-I"], "HTTP/2 200"),
        (&["-I", "--http1.1"], "HTTP/1.1 200"),
        (&["--tls-max", "1.2"], "HTTP/2 200"),
    ] {
        let (status, answer) = exporter.curl("https", "/metrics", arguments);
        assert_eq!(status, 200, "{arguments:?}: {answer}");
        assert!(answer.starts_with(version), "{arguments:?}: {answer}");
        assert_eq!(
            answer.contains("node_load1"),
            arguments.first() != Some(&"-I"),
            "{arguments:?}: {answer}"
        );
    }
    assert_eq!(
        exporter.curl("https", "/", &["--cacert", "own.crt"]).0,
        0,
        "a client must not believe this server"
    );
    let (status, answer) = exporter.curl("http", "/metrics", &["--http0.9"]);
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("Client sent an HTTP request to an HTTPS server."), "{answer}");
    let mut garbage = TcpStream::connect(exporter.address).unwrap();
    garbage.write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5, 0xff, 0xff]).unwrap();
    let _end = garbage.read_to_end(&mut Vec::new());
    for (reason, at_least) in [("plain_http", 1.0), ("handshake", 2.0)] {
        let series = format!("headroom_http_tls_failures_total{{listener=\"exporter\",reason=\"{reason}\"}}");
        eventually(&series, 5, || (exporter.metric(&series) >= at_least).then_some(()));
    }
    assert!(exporter.running.output().contains("no TLS was agreed on"));

    let plain = Exporter::start("http_server_config: {http2: true}\n", &[]);
    assert_eq!(plain.curl("http", "/metrics", &["-I"]).0, 200);
    assert_eq!(plain.curl("http", "/metrics", &["--http2-prior-knowledge"]).0, 0, "HTTP/2 is for TLS");
    let old = Exporter::start(&(TLS.to_owned() + "http_server_config: {http2: false}\n"), &[]);
    let (_, answer) = old.curl("https", "/metrics", &["-I"]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let strict = Exporter::start(&TLS.replace('}', ", min_version: TLS13}"), &[]);
    assert_eq!(strict.curl("https", "/", &["--tls-max", "1.2"]).0, 0);
    assert_eq!(strict.curl("https", "/", &[]).0, 200);
}

#[test]
fn each_policy_takes_the_certificates_that_it_says() {
    let clients = ["", "client", "other", "stranger", "own"];
    for (policy, more, taken) in [
        ("NoClientCert", "", &clients[..]),
        ("RequestClientCert", "", &clients),
        ("RequireAnyClientCert", "", &clients[1..]),
        ("VerifyClientCertIfGiven", ", client_ca_file: ca.crt", &["", "client", "other"]),
        ("VerifyClientCertIfGiven", "", &[""]),
        ("RequireAndVerifyClientCert", ", client_ca_file: ca.crt", &["client", "other"]),
        // Its own authority, which Go takes for a client's certificate too.
        ("RequireAndVerifyClientCert", ", client_ca_file: own.crt", &["own"]),
        (
            "RequireAndVerifyClientCert",
            ", client_ca_file: ca.crt, client_allowed_sans: [prometheus.example]",
            &["client"],
        ),
        (
            "RequireAndVerifyClientCert",
            ", client_ca_file: ca.crt, client_allowed_sans: [x, 'spiffe://example.org/other']",
            &["other"],
        ),
        ("RequireAndVerifyClientCert", ", client_ca_file: ca.crt, client_allowed_sans: []", &[]),
    ] {
        let exporter =
            Exporter::start(&TLS.replace('}', &format!(", client_auth_type: {policy}{more}}}")), &[]);
        for client in clients {
            let (cert, key) = (format!("{client}.crt"), format!("{client}.key"));
            let with = ["--cert", &cert, "--key", &key];
            for version in ["1.2", "1.3"] {
                let mut arguments = vec!["--tls-max", version];
                arguments.extend(if client.is_empty() { &[][..] } else { &with });
                let (status, answer) = exporter.curl("https", "/-/healthy", &arguments);
                let expected = if taken.contains(&client) { 200 } else { 0 };
                assert_eq!(status, expected, "{policy}{more}, TLS {version}, {client:?}: {answer}");
            }
        }
    }
}

#[test]
fn a_renewed_certificate_is_used_for_the_next_connection() {
    let exporter = Exporter::start(&(TLS.to_owned() + &users()), &[]);
    let good = "headroom_web_config_last_reload_successful{listener=\"exporter\"}";
    assert_eq!(exporter.metric(good), 1.0);
    let next = exporter.certificates.replace_server();
    let next = next.to_str().unwrap();
    assert_eq!(exporter.curl("https", "/", &["--cacert", next, "-u", "ann:s3cret"]).0, 200);
    assert_eq!(exporter.curl("https", "/", &["-u", "ann:s3cret"]).0, 0, "the old certificate is still shown");
    exporter.certificates.config("nonsense: 1\n");
    let (_, page) = exporter.curl("https", "/metrics", &["--cacert", next, "-u", "ann:s3cret"]);
    assert_eq!(metric(&page, good), 0.0);
    exporter.certificates.config(&(TLS.to_owned() + &users().replace("ann", "bob")));
    assert_eq!(exporter.curl("https", "/", &["--cacert", next, "-u", "ann:s3cret"]).0, 401);
    let (_, page) = exporter.curl("https", "/metrics", &["--cacert", next, "-u", "bob:s3cret"]);
    assert_eq!(metric(&page, good), 1.0);
}

/// Sends `requests` over one connection of plain HTTP, one after the other, and returns the statuses.
fn statuses(stream: &mut TcpStream, requests: usize, authorization: &str) -> Vec<u16> {
    let request = format!("GET /-/healthy HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n");
    let mut answer = [0; 4096];
    (0..requests)
        .map(|_| {
            stream.write_all(request.as_bytes()).unwrap();
            let length = stream.read(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..length]).split(' ').nth(1).unwrap().parse().unwrap()
        })
        .collect()
}

/// The processor time that a process has taken.
fn processor_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let main: u64 = text.split(' ').next().unwrap().parse().unwrap();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |path: PathBuf| {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(|thread| of(thread.path())).sum::<u64>().max(main))
}

#[test]
fn thousand_wrong_passwords_are_limited_and_shut_nobody_out_who_is_in() {
    // A cost of 10, as is usual: without limits, a thousand of them take a minute of a processor.
    let costly = bcrypt::hash("s3cret", 10).unwrap();
    let exporter = Exporter::start(&users().replace(HASH, &costly), &[]);
    let connect = || TcpStream::connect(exporter.address).unwrap();
    let (mut known, right) = (connect(), "Basic YW5uOnMzY3JldA==");
    assert_eq!(statuses(&mut known, 2, right), [200, 200]);
    let begun = (Instant::now(), processor_time(exporter.running.pid()));
    let mut answers = Vec::new();
    for n in 0..10 {
        // Half of them for a user that there is not.
        let wrong = if n % 2 == 0 { "Basic YW5uOnNlY3JldA==" } else { "Basic ZXZlOnMzY3JldA==" };
        answers.extend(statuses(&mut connect(), 100, wrong));
    }
    let took = begun.0.elapsed();
    let spent = processor_time(exporter.running.pid()).saturating_sub(begun.1);
    let looked_at = answers.iter().filter(|&&status| status == 401).count();
    let limited = answers.iter().filter(|&&status| status == 429).count();
    assert_eq!(looked_at + limited, 1000, "{answers:?}");
    let most = 10 + usize::try_from(took.as_secs()).unwrap() / 2 + 1;
    assert!((10..=most).contains(&looked_at), "{looked_at} were looked at in {took:?}");
    assert_eq!(
        statuses(&mut connect(), 1, right),
        [429],
        "who was not in before waits like all at this address"
    );
    assert_eq!(statuses(&mut known, 3, right), [200, 200, 200], "who is in stays in");
    assert_eq!(statuses(&mut known, 1, "Basic YW5uOnNlY3JldA=="), [429], "and may not try either");
    // What a thousand would have taken is known from those that were looked at.
    assert!(spent < Duration::from_secs(20), "{spent:?} for {looked_at}");
    assert!(!exporter.running.output().contains("s3cret"));
}

#[test]
fn the_rate_limit_of_the_file_holds_for_all_requests() {
    let exporter = Exporter::start("rate_limit: {interval: 1h, burst: 3}\n", &[]);
    let mut stream = TcpStream::connect(exporter.address).unwrap();
    assert_eq!(statuses(&mut stream, 5, "x"), [200, 200, 200, 429, 429]);
}

#[test]
fn the_optimizer_takes_users_for_its_pages_and_its_token_for_all() {
    let certificates = Certificates::new();
    let web = certificates.config(&users());
    let address = free_address();
    std::fs::write(certificates.path("token"), "let-me-in\n").unwrap();
    let text = format!(
        "state_dir: {}\noptimizer: {{listen: '{address}', token_file: token, web_config_file: {}}}\n",
        certificates.path("state").display(),
        web.display()
    );
    std::fs::write(certificates.path("c.yaml"), text).unwrap();
    let mut command = Command::new(HEADROOM);
    command.args(["optimizer", "--config"]).arg(certificates.path("c.yaml"));
    let _optimizer = Running::start(&mut command, &certificates.path("log"));
    let ask = |path: &str, authorization: &str| {
        let body = notification(&[alert("cache", "ab", "firing")]);
        let (method, body) = if path == "/api/v1/alerts" { ("POST", &body[..]) } else { ("GET", &[][..]) };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{authorization}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).ok()?;
        String::from_utf8_lossy(&text).split(' ').nth(1)?.parse::<u16>().ok()
    };
    eventually("the optimizer answers", 20, || ask("/-/healthy", ""));
    let (user, token) = ("authorization: Basic YW5uOnMzY3JldA==\r\n", "authorization: Bearer let-me-in\r\n");
    for (path, with_nothing, with_user, with_token) in [
        ("/-/healthy", 401, 200, 200),
        ("/metrics", 401, 200, 200),
        // A user who may read is none who may make it act.
        ("/api/v1/alerts", 401, 401, 200),
        ("/api/v1/actions", 401, 401, 200),
    ] {
        let got = ["", user, token].map(|authorization| ask(path, authorization).unwrap());
        assert_eq!(got, [with_nothing, with_user, with_token], "{path}");
    }
}

#[test]
fn many_wrong_tokens_are_limited_and_the_right_one_never_is() {
    let optimizer = Optimizer::start("", "");
    let body = || notification(&[alert("cache", "ab", "firing")]);
    let answers: Vec<u16> = (0..30).map(|_| optimizer.try_post("wrong", body()).unwrap().0).collect();
    assert_eq!(answers[..10], [401; 10]);
    assert!(answers[10..].iter().filter(|&&status| status == 429).count() >= 15, "{answers:?}");
    assert_eq!(optimizer.try_post("let-me-in", body()).unwrap().0, 200);
    assert!(
        optimizer.metric("headroom_http_auth_failures_total{listener=\"optimizer\",reason=\"limited\"}")
            >= 15.0
    );
}

#[test]
fn several_addresses_another_path_and_fewer_metrics_as_in_node_exporter() {
    let (dir, one, two) = (tempfile::tempdir().unwrap(), free_address(), free_address());
    let mut command = Command::new(HEADROOM);
    command.arg("exporter").args([one, two].map(|address| format!("--web.listen-address={address}")));
    command.args(["--web.telemetry-path=/samples", "--web.disable-exporter-metrics", "--web.max-requests=1"]);
    let running = Running::start(&mut command, &dir.path().join("log"));
    for address in [one, two] {
        let (status, page) = eventually("it answers", 20, || get(&format!("http://{address}/samples")));
        assert_eq!(status, 200);
        assert!(page.contains("\nnode_load1 ") && page.contains("\nheadroom_build_info{"), "{page}");
        for own in ["\nprocess_cpu", "headroom_http_", "headroom_collector_"] {
            assert!(!page.contains(own), "{own} {page}");
        }
        assert_eq!(get(&format!("http://{address}/metrics")).unwrap().0, 404);
        let front = get(&format!("http://{address}/")).unwrap().1;
        assert!(
            front.contains("<a href=\"/samples\">/samples</a>") && !front.contains("\"/metrics\""),
            "{front}"
        );
    }
    assert!(!running.output().contains("not supported"), "{}", running.output());
    // All of them are there before the first is answered.
    let mut many: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(one).unwrap()).collect();
    for stream in &mut many {
        stream.write_all(b"GET /samples HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    }
    let answers: Vec<String> = many
        .into_iter()
        .map(|mut stream| {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
        .collect();
    let refused = answers
        .iter()
        .filter(|text| text.contains("Limit of concurrent requests reached (1), try again later."));
    assert!(
        answers.iter().any(|text| text.starts_with("HTTP/1.1 200")) && refused.count() > 0,
        "{answers:?}"
    );
}

#[test]
fn sockets_of_systemd_are_listened_on_and_nothing_else_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let shell = |descriptors: &str, input: Stdio| {
        let mut command = Command::new("sh");
        let script = format!("exec {descriptors} 0</dev/null; LISTEN_PID=$$ exec \"$@\"");
        command.args(["-c", &script, "sh", HEADROOM, "exporter", "--web.systemd-socket"]).stdin(input);
        command
    };
    let mut command = shell("3<&0", std::os::fd::OwnedFd::from(listener).into());
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut child = command.env("LISTEN_FDS", "1").stderr(log).spawn().unwrap();
    let answer = eventually("the exporter answers", 20, || get(&format!("http://{address}/-/healthy")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert!(child.wait().unwrap().success() && answer.0 == 200);
    let refused = |command: &mut Command, why: &str| {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(why), "{text}");
    };
    refused(shell("3<&0", Stdio::null()).env("LISTEN_FDS", "1"), "descriptor 3 is no listening TCP socket");
    refused(shell("3<&0", Stdio::null()).env("LISTEN_FDS", "99999"), "LISTEN_FDS");
    refused(
        Command::new(HEADROOM).args(["exporter", "--web.systemd-socket"]).env("LISTEN_FDS", "1"),
        "no sockets from systemd",
    );
    let Some(activate) = program(&["systemd-socket-activate"]) else { return };
    let address = free_address();
    let mut command = Command::new(activate);
    command.arg(format!("--listen={address}")).args([HEADROOM, "exporter", "--web.systemd-socket"]);
    let _activated = Running::start(&mut command, &dir.path().join("activated"));
    let page = eventually("the first connection starts it", 20, || get(&format!("http://{address}/metrics")));
    assert!(page.1.contains("node_load1"));
}
