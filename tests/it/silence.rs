//! A silence that a person sets in the real Alertmanager while a run waits between two rungs.

use crate::stack::{Holder, Hook, Optimizer, Running, alert, eventually, free_address, get, program};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Two hooks that release nothing, one after the other, on a target that stays over its budget.
fn optimizer(holder: &Holder, hook: &Hook, alertmanager: SocketAddr, wait: &str) -> Optimizer {
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let address = hook.address;
    let keys = format!(
        "  settle: 50ms\n  alertmanager: {{url: 'http://{alertmanager}', timeout: 2s}}\n  guards: {{cooldown: 0s, \
         target_cooldown: 0s}}\n  policies:\n  - {{name: ask, match: ['headroom_action=\"reclaim\"'], target_label: \
         groupname, wait: {wait}, ladder: [app_hook, {{action: app_hook, with: {{kind: two}}}}]}}\n  targets:\n  - {{name: \
         held, process_group: held, hook: {{url: 'http://{address}/'}}, hooks: [{{kind: two, url: 'http://{address}/'}}]}}\n"
    );
    Optimizer::start(&top, &keys)
}

/// Starts it with one receiver: the optimizer's webhook, with the token.
pub(crate) fn alertmanager(at: &Path, address: SocketAddr, webhook: &Optimizer) -> Option<Running> {
    let token = json!({"authorization": {"credentials_file": webhook.token_file()}});
    alertmanager_as(at, address, webhook, &token)
}

/// The same, with another `http_config`.
pub(crate) fn alertmanager_as(
    at: &Path,
    address: SocketAddr,
    webhook: &Optimizer,
    http_config: &Value,
) -> Option<Running> {
    let program = program(&["prometheus-alertmanager", "alertmanager"])?;
    let receiver = json!({
        "url": webhook.url("/api/v1/alerts"), "send_resolved": true, "http_config": http_config
    });
    let config = json!({
        "route": {"receiver": "headroom", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]},
        "receivers": [{"name": "headroom", "webhook_configs": [receiver]}]
    });
    // JSON is YAML.
    std::fs::write(at.join("alertmanager.yml"), config.to_string()).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", at.join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", at.join("alertmanager").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=");
    let running = Running::start(&mut command, &at.join("alertmanager.log"));
    eventually("Alertmanager is ready", 60, || {
        get(&format!("http://{address}/-/ready")).filter(|(status, _)| *status == 200)
    });
    Some(running)
}

/// Sends an alert to Alertmanager, as Prometheus would.
pub(crate) fn fire(address: SocketAddr, labels: &Value) {
    let body = json!([{"labels": labels}]).to_string().into_bytes();
    let url = format!("http://{address}/api/v2/alerts");
    let call = Call { method: Method::POST, body: Some(body), ..Call::get(url) };
    let (status, body) = send_blocking(call).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}

#[test]
fn a_silence_set_during_a_run_ends_the_ladder_and_another_alerts_does_not() {
    let Some(amtool) = program(&["amtool"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let hook = Hook::start("{\"released_bytes\": 0}", Duration::ZERO);
    let address = free_address();
    let optimizer = optimizer(&holder, &hook, address, "4s");
    let Some(_server) = alertmanager(dir.path(), address, &optimizer) else { return };
    let silence = |alertname: &str| {
        let output = Command::new(&amtool)
            .arg(format!("--alertmanager.url=http://{address}"))
            .args(["silence", "add", "--comment=work", "--author=someone", "--duration=1h"])
            .arg(format!("alertname={alertname}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let mut labels = alert("held", "", "firing")["labels"].clone();
    // Text of users, which must reach Alertmanager as it is.
    labels["owner"] = "a \"team\" & more=\\x".into();
    let first = labels.clone();
    fire(address, &first);
    eventually("the first hook is called", 60, || (hook.calls() == 1).then_some(()));
    silence("AnotherAlert");
    let other = optimizer.ended(60);
    assert_eq!((other["result"].as_str(), hook.calls()), (Some("exhausted"), 2), "{other:#}");

    labels["instance"] = "localhost:9177".into();
    fire(address, &labels);
    eventually("the first hook is called again", 60, || (hook.calls() == 3).then_some(()));
    let id = silence("ProcessGroupMemoryOverBudget");
    let entry = optimizer.ended(60);
    assert_eq!(entry["labels"], labels, "the second alert's run");
    assert_eq!(entry["result"], "silenced", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains(&id), "{entry:#}");
    assert_eq!((entry["steps"].as_array().unwrap().len(), hook.calls()), (1, 3), "{entry:#}");
    assert_eq!(optimizer.metric("headroom_optimizer_runs_total{result=\"silenced\"}"), 1.0);
}

#[test]
fn an_alertmanager_that_does_not_answer_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let hook = Hook::start("{\"released_bytes\": 0}", Duration::ZERO);
    // One that hangs, and one whose answer is no list of alerts.
    for (answer, wait) in [("{\"status\": \"x\"}", Duration::ZERO), ("[]", Duration::from_mins(1))] {
        let before = hook.calls();
        let listener = Hook::start(answer, wait);
        let optimizer = optimizer(&holder, &hook, listener.address, "0s");
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(60);
        assert_eq!((entry["result"].as_str(), hook.calls() - before), (Some("exhausted"), 2), "{entry:#}");
        let log = optimizer.running.output();
        assert_eq!(log.matches("cannot ask Alertmanager for silences").count(), 1, "{log}");
    }
}
