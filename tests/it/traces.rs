//! Runs as traces, at a receiver that reads the protocol by itself.

use crate::receiver::{Receiver, Span};
use crate::stack::{Holder, Hook, Optimizer, alert, eventually, free_address, get, notification};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use hyper::header::HeaderValue;
use std::time::Duration;

const CALLER: &str = "0af7651916cd43dd8448eb211c80319c";

/// Sends an alert as part of a caller's trace.
fn notify(optimizer: &Optimizer, fingerprint: &str, traceparent: &str) {
    let mut call = Call {
        method: Method::POST,
        authorization: Some(HeaderValue::from_static("Bearer let-me-in")),
        body: Some(notification(&[alert("held", fingerprint, "firing")])),
        ..Call::get(optimizer.url("/api/v1/alerts"))
    };
    call.headers.insert("traceparent", HeaderValue::from_str(traceparent).unwrap());
    assert_eq!(send_blocking(call).unwrap().0, 200);
}

/// An optimizer that sends to `address`, with a target whose hook only says that it gave something back.
fn sending_to(address: std::net::SocketAddr, more: &str) -> (Optimizer, Hook, Holder, tempfile::TempDir) {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::from_millis(30));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("headers"), "# who\nx-key: s3cret\n").unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "  settle: 50ms\n");
    let headers = dir.path().join("headers").display().to_string();
    let otlp = format!("otlp: {{endpoint: 'http://{address}', headers_file: {headers}{more}}}");
    (Optimizer::start(&format!("{top}\n{otlp}"), &text), hook, holder, dir)
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let all: Vec<&Span> = spans.iter().filter(|s| s.name == name).collect();
    assert_eq!(all.len(), 1, "{name}: {spans:#?}");
    all[0]
}

#[test]
fn a_run_is_one_trace_from_the_webhook_to_the_verdict() {
    let receiver = Receiver::start("200 OK");
    let (optimizer, _hook, _holder, _dir) = sending_to(receiver.address, "");
    notify(&optimizer, "ab", &format!("00-{CALLER}-b7ad6b7169203331-01"));
    let entry = optimizer.ended(30);
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    let spans = eventually("the whole trace", 30, || {
        let spans = receiver.spans();
        spans.iter().any(|s| s.name == "run").then_some(spans)
    });
    let root = named(&spans, "run");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), (CALLER, "b7ad6b7169203331"));
    let rung = named(&spans, "rung");
    for (name, parent) in [
        ("store", root),
        ("guards", root),
        ("rung", root),
        ("observe", rung),
        ("plan", rung),
        ("intent", rung),
        ("act", rung),
        ("settle", rung),
        ("verify", rung),
    ] {
        let span = named(&spans, name);
        assert_eq!((&span.parent, &span.trace), (&parent.id, &root.trace), "{name}");
        assert!(parent.begin <= span.begin && span.begin <= span.end && span.end <= parent.end, "{name}");
    }
    let order = ["store", "guards", "observe", "plan", "intent", "act", "settle", "verify"];
    let times: Vec<u64> = order.iter().map(|name| named(&spans, name).begin).collect();
    assert!(times.is_sorted(), "{times:?}");
    let act = named(&spans, "act");
    assert!(act.end - act.begin >= 30_000_000, "the hook took 30 ms: {act:?}");
    for (span, key, value) in [
        (root, "headroom.result", "exhausted"),
        (root, "headroom.target", "held"),
        (root, "headroom.policy", "give-back"),
        (root, "headroom.freed_bytes", "0"),
        (root, "headroom.run.id", "1"),
        (root, "service.name", "headroom"),
        (rung, "headroom.action", "app_hook"),
        (named(&spans, "verify"), "headroom.result", "no_gain"),
    ] {
        assert_eq!(span.facts.get(key).map(String::as_str), Some(value), "{key}: {span:#?}");
    }
    let head = &receiver.requests()[0].head;
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf") && head.contains("x-key: s3cret"),
        "{head}"
    );
    let sent = "headroom_otlp_records_total{result=\"sent\",signal=\"traces\"}";
    eventually("the count", 10, || (optimizer.metric(sent) >= 10.0).then_some(()));
    assert!(!optimizer.running.output().contains("s3cret"));
    // Who calls with a trace that is not kept wants none of ours either.
    notify(&optimizer, "cd", &format!("00-{}-b7ad6b7169203331-00", CALLER.replace('0', "1")));
    notify(&optimizer, "ef", "no traceparent at all");
    let ended = eventually("two more traces' time", 30, || {
        let spans = receiver.spans();
        (spans.iter().filter(|s| s.name == "run").count() == 2).then_some(spans)
    });
    let own = ended.iter().rfind(|s| s.name == "run").unwrap();
    assert!(own.parent.is_empty() && own.trace != CALLER, "{own:?}");
}

#[test]
fn hooks_and_webhooks_hear_of_the_trace_and_of_none_where_none_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    for sends in [true, false] {
        let (receiver, called) = (Receiver::start("200 OK"), Receiver::start("200 OK"));
        let otlp =
            if sends { format!("otlp: {{endpoint: 'http://{}'}}", receiver.address) } else { String::new() };
        let group = format!("{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}", holder.marker);
        let url = format!("url: 'http://{}/'", called.address);
        let keys = format!(
            "  settle: 50ms\n  guards: {{cooldown: 0s, target_cooldown: 0s}}\n  policies:\n  - {{name: ask, match: \
             ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [app_hook, scale]}}\n  targets:\n  - {{name: \
             held, process_group: held, hook: {{{url}}}, scale: {{webhook: {{{url}}}}}}}\n"
        );
        let optimizer = Optimizer::start(&format!("process_groups: [{group}]\n{otlp}"), &keys);
        notify(&optimizer, "ab", &format!("00-{CALLER}-b7ad6b7169203331-01"));
        optimizer.ended(30);
        let heads: Vec<String> = called.requests().into_iter().map(|r| r.head).collect();
        assert_eq!(heads.len(), 2, "{heads:#?}");
        if !sends {
            assert!(!heads.concat().contains("traceparent"), "{heads:#?}");
            continue;
        }
        let acts = eventually("both actions' spans", 30, || {
            let acts: Vec<Span> = receiver.spans().into_iter().filter(|s| s.name == "act").collect();
            (acts.len() == 2).then_some(acts)
        });
        for (head, act) in heads.iter().zip(&acts) {
            let parent = format!("traceparent: 00-{CALLER}-{}-01\r\n", act.id);
            assert!(head.contains(&parent) && !head.contains("tracestate"), "{parent}{head}");
        }
    }
}

#[test]
fn a_receiver_that_is_dead_or_refuses_disturbs_no_run_and_is_counted() {
    let refusing = Receiver::start("400 Bad Request");
    for address in [free_address(), refusing.address] {
        let (optimizer, hook, _holder, _dir) = sending_to(address, ", timeout: 300ms");
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(30);
        assert_eq!((entry["result"].as_str(), hook.calls()), (Some("exhausted"), 1), "{entry:#}");
        let failed = "headroom_otlp_records_total{result=\"failed\",signal=\"traces\"}";
        eventually("the count of the lost", 30, || (optimizer.metric(failed) >= 10.0).then_some(()));
        assert!(optimizer.metric("headroom_otlp_records_total{result=\"sent\",signal=\"traces\"}") < 0.5);
        let log = optimizer.running.output();
        assert_eq!(log.matches("telemetry cannot be sent by OTLP").count(), 1, "{log}");
    }
}

#[test]
fn without_an_endpoint_there_is_nothing_of_it() {
    let optimizer = Optimizer::start("", "");
    let (_, page) = get(&optimizer.url("/metrics")).unwrap();
    assert!(!page.contains("headroom_otlp"), "{page}");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", optimizer.running.pid())).unwrap();
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        assert!(!name.starts_with("OpenTel"), "{name}");
    }
}

#[test]
fn actions_are_annotations_in_grafana_and_a_dead_one_disturbs_none() {
    let (grafana, hook) = (Receiver::start("200 OK"), Hook::start("{\"released_bytes\": 1}", Duration::ZERO));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("grafana-token");
    std::fs::write(&token, "s3cret-of-grafana\n").unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let start = |address: std::net::SocketAddr| {
        let more = format!(
            "  settle: 50ms\n  grafana: {{url: 'http://{address}/graphs/', token_file: {}, tags: [web1]}}\n",
            token.display()
        );
        let (top, text) = crate::hostile::target(&holder, &hook, &more);
        let optimizer = Optimizer::start(&top, &text);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(30);
        assert_eq!(entry["result"], "exhausted", "{entry:#}");
        (optimizer, entry)
    };
    let count = |optimizer: &Optimizer, result: &str| {
        optimizer.metric(&format!("headroom_optimizer_annotations_total{{result=\"{result}\"}}"))
    };
    let (optimizer, entry) = start(grafana.address);
    eventually("the annotation is counted", 20, || (count(&optimizer, "sent") > 0.5).then_some(()));
    let request = grafana.requests().remove(0);
    assert!(request.head.starts_with("post /graphs/api/annotations http/1.1"), "{}", request.head);
    assert!(request.head.contains("authorization: bearer s3cret-of-grafana"), "{}", request.head);
    let said: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(said["tags"], serde_json::json!(["headroom", "app_hook", "held", "no_gain", "web1"]));
    let step = &entry["steps"][0];
    let (begun, ended) =
        (step["begun_at_millis"].as_i64().unwrap(), step["ended_at_millis"].as_i64().unwrap());
    assert!(said["time"].as_i64().unwrap() >= begun && said["timeEnd"] == ended, "{said} {step}");
    assert!(
        said["text"].as_str().unwrap().starts_with("app_hook on held: no_gain, 0 B freed (run 1"),
        "{said}"
    );
    assert!(!optimizer.running.output().contains("s3cret"));
    // Nobody there: the run is as it was, and the count says it after two more tries.
    let (optimizer, _) = start(free_address());
    eventually("the lost annotation is counted", 30, || (count(&optimizer, "failed") > 0.5).then_some(()));
    assert_eq!((hook.calls(), count(&optimizer, "sent")), (2, 0.0));
}

#[test]
fn a_scrape_that_is_sampled_is_one_trace_of_its_pass_and_collectors() {
    let receiver = Receiver::start("200 OK");
    let dir = tempfile::tempdir().unwrap();
    let start = |more: &str| {
        let page = free_address();
        let text = format!(
            "otlp: {{endpoint: 'http://{}'}}\nexporter: {{listen: '{page}', page_age_max: 0s, {more}collectors: {{disable_defaults: true, enabled: \
             [loadavg, bonding]}}}}\n",
            receiver.address
        );
        let file = dir.path().join(format!("{}.yaml", page.port()));
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(crate::stack::HEADROOM);
        command.arg("exporter").arg("--config").arg(&file);
        let running = crate::stack::Running::start(&mut command, &file.with_extension("log"));
        eventually("the exporter", 30, || get(&format!("http://{page}/-/ready")));
        (page, running)
    };
    let scrape = |page: std::net::SocketAddr, parent: &str| {
        let mut call = Call::get(format!("http://{page}/metrics"));
        call.headers.insert("traceparent", HeaderValue::from_str(parent).unwrap());
        let (status, body) = send_blocking(call).unwrap();
        assert_eq!(status, 200);
        String::from_utf8(body.to_vec()).unwrap()
    };
    let sampled = format!("00-{CALLER}-b7ad6b7169203331-01");
    // Off: no counter, no thread, no span.
    let (page, _plain) = start("");
    assert!(!scrape(page, &sampled).contains("headroom_otlp_records_total"));
    let (page, _traced) = start("trace_ratio: 0, ");
    scrape(page, &sampled.replace("-01", "-00"));
    scrape(page, "");
    scrape(page, &sampled);
    let spans = eventually("the whole trace", 30, || {
        let spans = receiver.spans();
        spans.iter().any(|s| s.name == "scrape").then_some(spans)
    });
    let root = named(&spans, "scrape");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), (CALLER, "b7ad6b7169203331"));
    assert!(root.facts["http.response.body.size"].parse::<u64>().unwrap() > 100, "{root:?}");
    let pass = named(&spans, "pass");
    assert_eq!((&pass.parent, &pass.trace), (&root.id, &root.trace));
    for name in ["own", "loadavg", "bonding"] {
        let span = named(&spans, &format!("collect {name}"));
        assert_eq!((&span.parent, span.facts["headroom.collector"].as_str()), (&pass.id, name));
        assert!(
            pass.begin <= span.begin && span.begin <= span.end && span.end <= pass.end,
            "{span:?} {pass:?}"
        );
    }
}
