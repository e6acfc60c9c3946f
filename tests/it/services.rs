//! Services: the rules that are made of them, and where they stand by a real Prometheus.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A command of Headroom: its exit code, and what it said on both outputs.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(HEADROOM).args(arguments).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn the_example_s_rules_are_what_the_command_makes() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/services");
    let config = services.join("example.yaml");
    let config = config.to_str().unwrap();
    let (code, made) = run(&["rules", "generate", "--config", config]);
    assert_eq!(code, Some(0), "{made}");
    let golden = services.join("services.rules.yml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &made).unwrap();
    }
    assert!(
        std::fs::read_to_string(&golden).unwrap_or_default() == made,
        "{golden:?} is old; see `UPDATE=1`"
    );
    assert_eq!(run(&["rules", "generate", "--config", config]).1, made, "the same each time");
}

#[test]
fn generated_rules_are_written_and_nobody_else_s_file_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = (dir.path().join("h.yaml"), dir.path().join("new/rules"));
    let generate = |more: &[&str]| {
        let all = ["rules", "generate", "--config", config.to_str().unwrap(), "-o", out.to_str().unwrap()];
        run(&[&all, more].concat())
    };
    std::fs::write(&config, "services: [{name: a, throughput: {metric: a_total}}]").unwrap();
    let (code, said) = generate(&[]);
    let file = out.join("services.yml");
    assert_eq!((code, said.trim()), (Some(0), file.to_str().unwrap()));
    std::fs::write(&config, "services: [{name: b, throughput: {metric: b_total}}]").unwrap();
    assert_eq!(generate(&[]).0, Some(0), "its own file may be made anew");
    assert!(std::fs::read_to_string(&file).unwrap().contains("sum(rate(b_total[5m]))"));
    std::fs::write(&file, "groups: []\n").unwrap();
    let (code, said) = generate(&[]);
    assert!(code == Some(2) && said.contains("--force"), "{said}");
    assert_eq!(generate(&["--force"]).0, Some(0));
    std::fs::write(&config, "services: []").unwrap();
    let (code, said) = generate(&[]);
    assert!(code == Some(2) && said.contains("no services are configured"), "{said}");
}

#[test]
fn generated_rules_are_an_object_for_the_operator_with_the_same_groups() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/services/example.yaml");
    let generate = |more: &[&str]| {
        let all = ["rules", "generate", "--config", example.to_str().unwrap()];
        let (code, said) = run(&[&all, more].concat());
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let read = |text: &str| -> Value { serde_yaml::from_str(text).unwrap() };
    let object = read(&generate(&["--operator"]));
    assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(
        (&object["kind"], &object["metadata"]["name"]),
        (&"PrometheusRule".into(), &"headroom-services".into())
    );
    let plain = read(&generate(&[]));
    assert!(plain["groups"].as_array().unwrap().len() >= 2);
    assert_eq!(object["spec"], plain);
    let out = dir.path().to_str().unwrap();
    let file = dir.path().join("services.yaml");
    assert_eq!(generate(&["--operator", "-o", out]).trim(), file.to_str().unwrap());
    assert_eq!(
        generate(&["--operator", "-o", out]).trim(),
        file.to_str().unwrap(),
        "its own file may be made anew"
    );
    std::fs::write(&file, "kind: Other\n").unwrap();
    let (code, said) =
        run(&["rules", "generate", "--config", example.to_str().unwrap(), "--operator", "-o", out]);
    assert!(code == Some(2) && said.contains("--force"), "{said}");
}

/// A shop that takes 200,000 requests a second, of which so many in a thousand fail, or are slow. Since the window of five
/// minutes is empty at first, only so many are above the target soon.
fn shop(failing: Arc<AtomicU64>, slow: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut last, mut all, mut failed, mut slower) = (Instant::now(), 0.0, 0.0, 0.0);
        for mut stream in listener.incoming().flatten() {
            let more = 200_000.0 * last.elapsed().as_secs_f64();
            last = Instant::now();
            let share =
                |of: &AtomicU64| f64::from(u32::try_from(of.load(Ordering::SeqCst)).unwrap()) / 1000.0;
            all += more;
            failed += more * share(&failing);
            slower += more * share(&slow);
            let (good, fast) = (all - failed, all - slower);
            let body = format!(
                "shop_total{{code=\"200\"}} {good}\nshop_total{{code=\"500\"}} {failed}\n\
                 shop_seconds_bucket{{le=\"0.05\"}} {fast}\nshop_seconds_bucket{{le=\"0.2\"}} {fast}\n\
                 shop_seconds_bucket{{le=\"0.5\"}} {fast}\nshop_seconds_bucket{{le=\"10.0\"}} {all}\n\
                 shop_seconds_bucket{{le=\"+Inf\"}} {all}\nshop_seconds_count {all}\nshop_seconds_sum 1\n"
            );
            let mut part = [0; 4096];
            let _read = stream.read(&mut part);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n", body.len());
            let _gone = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    address
}

#[test]
fn where_services_stand_is_asked_of_a_real_prometheus() {
    let Some(prometheus) = program(&["prometheus"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (failing, slow) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (target, address) = (shop(Arc::clone(&failing), Arc::clone(&slow)), free_address());
    let config = dir.path().join("h.yaml");
    let series = "latency: {histogram: shop_seconds}, throughput: {metric: shop_total}, errors: {metric: shop_total, match: ['code=\"500\"']}";
    let services =
        format!("services: [{{name: shop, {series}}}]\nup: {{prometheus: {{listen: '{address}'}}}}\n");
    std::fs::write(&config, services).unwrap();
    let config = config.to_str().unwrap();

    // Nobody is there: that is no finding.
    let (code, said) = run(&["slo", "--config", config]);
    assert!(code == Some(2) && said.contains("no Prometheus at") && said.contains("--prometheus"), "{said}");

    let file = dir.path().join("prometheus.yml");
    let scrape = format!("{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}");
    let global = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}";
    std::fs::write(&file, format!("{global}\nrule_files: [rules/*.yml]\nscrape_configs: [{scrape}]\n"))
        .unwrap();
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--web.enable-lifecycle");
    let running = Running::start(&mut command, &dir.path().join("log"));
    let ask = |more: &[&str]| run(&[&["slo", "--config", config], more].concat());
    let standing = |objective: &str| {
        let json: Value = serde_json::from_str(&ask(&["--json"]).1).ok()?;
        let all = json["standings"].as_array()?.clone();
        all.into_iter().find(|s| s["objective"] == objective)
    };
    let state = |objective: &str, want: &str| {
        eventually(&format!("{objective} is {want}"), 120, || {
            standing(objective).filter(|s| s["state"] == want)
        })
    };
    // By the application's own series: no rules are loaded yet.
    state("errors", "ok");
    let p95 = state("p95", "ok");
    assert_eq!((p95["budget_left"].as_f64(), p95["target"].as_f64()), (Some(1.0), Some(0.2)));
    state("throughput", "ok");
    let (code, said) = ask(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("SERVICE") && said.contains("BUDGET LEFT") && !said.contains("note:"), "{said}");

    // And by what the rules record, once they are.
    let rules = dir.path().join("rules");
    assert_eq!(run(&["rules", "generate", "--config", config, "-o", rules.to_str().unwrap()]).0, Some(0));
    running.signal(rustix::process::Signal::HUP);
    let recorded = format!("http://{address}/api/v1/query?query=service:slo_bad:ratio_rate5m");
    eventually("the rules record", 60, || get(&recorded)?.1.contains("\"service\":\"shop\"").then_some(()));
    state("errors", "ok");

    failing.store(500, Ordering::SeqCst);
    slow.store(900, Ordering::SeqCst);
    let errors = state("errors", "critical");
    assert!(
        errors["current"].as_f64().unwrap() > 0.001 && errors["burn"]["1h"].as_f64().unwrap() > 1.0,
        "{errors}"
    );
    let p95 = state("p95", "critical");
    assert!(p95["budget_left"].as_f64().unwrap() < 1.0, "{p95}");
    let (code, said) = ask(&["--service", "shop"]);
    assert!(code == Some(1) && said.contains("critical"), "{said}");
    let (code, said) = ask(&["--service", "shp"]);
    assert!(code == Some(2) && said.contains("did you mean `shop`"), "{said}");
}
