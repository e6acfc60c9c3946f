//! Nothing lost, nothing repeated: duplicates, and `kill -9` at any moment.

use crate::hostile::target;
use crate::stack::{
    HEADROOM, Holder, Hook, Optimizer, Running, alert, eventually, free_address, get, notification,
};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn one_episode_is_one_run_whatever_arrives_how_often() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start(&top, &text);
    // At once from many connections, twice in one body, and late.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| optimizer.notify(&vec![alert("held", "ab", "firing"); 2], 200));
        }
    });
    let entry = optimizer.ended(20);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    optimizer.notify(&[alert("held", "ab", "resolved")], 200);
    // A repeat that was overtaken by its resolution.
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entries = optimizer.entries("");
    assert_eq!((entries.len(), hook.calls()), (1, 1), "{entries:#?}");
    assert_eq!(entries[0]["id"], entry["id"]);
    assert!(entries[0]["resolved_at_millis"].is_i64());
    // The same alert firing anew is another episode.
    let mut anew = alert("held", "ab", "firing");
    anew["startsAt"] = "2026-11-21T05:00:00Z".into();
    optimizer.notify(&[anew], 200);
    eventually("the second run", 20, || (hook.calls() == 2).then_some(()));
}

#[test]
fn a_resolution_ends_a_run_that_has_not_acted() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start(&top, &text.replace("target_cooldown: 0s", "target_cooldown: 1h"));
    optimizer.notify(&[alert("held", "aa", "firing")], 200);
    optimizer.ended(20);
    optimizer.notify(&[alert("held", "bb", "firing")], 200);
    eventually("the second run waits", 10, || {
        optimizer.entries("limit=1").into_iter().find(|e| e["state"] == "waiting" && e["fingerprint"] == "bb")
    });
    assert_eq!(optimizer.metric("headroom_optimizer_guard_refusals_total{guard=\"cooldown_target\"}"), 1.0);
    optimizer.notify(&[alert("held", "bb", "resolved")], 200);
    let entry = optimizer.ended(10);
    assert_eq!((entry["result"].as_str(), hook.calls()), (Some("resolved"), 1), "{entry:#}");
    assert_eq!(optimizer.metric("headroom_optimizer_runs_total{result=\"resolved\"}"), 1.0);
    // Resolved before it was ever seen firing: the firing that comes late leads to nothing.
    optimizer.notify(&[alert("held", "cc", "resolved")], 200);
    optimizer.notify(&[alert("held", "cc", "firing")], 200);
    let entry = optimizer.ended(10);
    assert_eq!((entry["fingerprint"].as_str(), entry["result"].as_str()), (Some("cc"), Some("resolved")));
    assert_eq!(hook.calls(), 1);
}

#[test]
fn killed_between_accepting_and_acting_it_acts_once_after_the_restart() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    // The cool-down after the first run keeps the second waiting: accepted, and not yet acted upon.
    let mut optimizer = Optimizer::start(&top, &text.replace("target_cooldown: 0s", "target_cooldown: 4s"));
    optimizer.notify(&[alert("held", "aa", "firing")], 200);
    optimizer.ended(20);
    optimizer.notify(&[alert("held", "bb", "firing")], 200);
    optimizer.running.kill();
    assert_eq!(hook.calls(), 1);
    optimizer.restart();
    let entry = optimizer.ended(20);
    assert_eq!(
        (entry["fingerprint"].as_str(), entry["result"].as_str()),
        (Some("bb"), Some("exhausted")),
        "{entry:#}"
    );
    optimizer.notify(&[alert("held", "bb", "firing")], 200);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(hook.calls(), 2);
}

#[test]
fn killed_while_acting_the_step_is_interrupted_and_never_repeated() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::from_secs(1));
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let mut optimizer = Optimizer::start(&top, &text);
    optimizer.notify(&[alert("held", "aa", "firing")], 200);
    eventually("the hook is called", 20, || (hook.calls() == 1).then_some(()));
    optimizer.running.kill();
    optimizer.restart();
    let entry = optimizer.ended(20);
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    assert_eq!(entry["steps"][0]["state"], "interrupted", "{entry:#}");
    optimizer.notify(&[alert("held", "aa", "firing")], 200);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(hook.calls(), 1);
    let series = "headroom_optimizer_actions_total{action=\"app_hook\",result=\"interrupted\"}";
    assert_eq!(optimizer.metric(series), 1.0);
}

#[test]
fn killed_at_any_moment_nothing_accepted_is_lost_and_nothing_begun_is_repeated() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::from_millis(60));
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    // It is tried again and again, though it gains nothing.
    let text = text.replace("guards: {", "guards: {breaker: {tries: 0}, ");
    let mut optimizer = Optimizer::start(&top, &text);
    let (mut interrupted, mut finished) = (0, 0);
    // From before the webhook's answer to after the outcome, however long that takes on this machine.
    for n in 0..80_u64 {
        if finished > 3 {
            break;
        }
        let before = hook.calls();
        let fingerprint = format!("{n:04x}");
        let body = notification(&[alert("held", &fingerprint, "firing")]);
        let accepted = std::thread::scope(|scope| {
            let answer = scope.spawn(|| optimizer.try_post("let-me-in", body));
            // Finely at first, then in longer steps, for a machine that is busy.
            std::thread::sleep(Duration::from_millis(n * 10 + n.saturating_sub(40) * 50));
            optimizer.running.signal(rustix::process::Signal::KILL);
            answer.join().unwrap().is_some_and(|(status, _)| status == 200)
        });
        optimizer.running.kill();
        let log = optimizer.running.output();
        optimizer.restart();
        let seen =
            optimizer.entries("limit=1").into_iter().find(|e| e["fingerprint"] == fingerprint.as_str());
        assert!(seen.is_some() || !accepted, "episode {n} was answered 200 and is lost");
        if seen.is_none() {
            continue;
        }
        let entry = optimizer.ended(20);
        let calls = hook.calls() - before;
        assert!(calls <= 1, "episode {n} led to {calls} calls: {entry:#}");
        let result = entry["result"].as_str().unwrap();
        assert_eq!(result, "exhausted", "{entry:#}");
        assert_eq!(entry["steps"].as_array().unwrap().len(), 1, "{entry:#}");
        let cut_off = entry["steps"][0]["state"] == "interrupted";
        assert!(cut_off || calls == 1, "{entry:#}");
        interrupted += u32::from(cut_off);
        finished += u32::from(log.contains(&format!("run ended run={} result=", entry["id"])));
    }
    assert!(interrupted > 0, "no kill hit an action: the steps are too coarse for this machine");
}

#[test]
fn a_second_optimizer_on_the_same_state_directory_does_not_start() {
    let first = Optimizer::start("", "");
    let config = first.dir.path().join("second.yaml");
    let text = format!(
        "state_dir: {}\noptimizer: {{listen: '{}', token_file: token}}\n",
        first.dir.path().join("state").display(),
        free_address()
    );
    std::fs::write(&config, text).unwrap();
    let second = Command::new(HEADROOM).args(["optimizer", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("two optimizers cannot share a state directory"), "{said}");
}

#[test]
fn a_flood_of_alerts_is_recorded_counted_once_and_holds_up_nobody() {
    const FLOOD: usize = 3000;
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start(&top, &text);
    let flood: Vec<_> = (0..FLOOD).map(|n| alert("nobody", &format!("{n:06x}"), "firing")).collect();
    let ends: Vec<_> = (0..FLOOD).map(|n| alert("nobody", &format!("{n:06x}"), "resolved")).collect();
    for part in flood.chunks(1000) {
        optimizer.notify(part, 200);
    }
    // Ends that arrive while the executor has the same runs in its hands.
    for part in ends.chunks(1000) {
        optimizer.notify(part, 200);
    }
    let begun = Instant::now();
    optimizer.notify(&[alert("held", "ffffff", "firing")], 200);
    eventually("the one that matters", 60, || (hook.calls() == 1).then_some(()));
    eprintln!("behind {FLOOD} others it took {:?}", begun.elapsed());
    let sum = || {
        let page = get(&optimizer.url("/metrics")).unwrap().1;
        let runs = page.lines().filter(|l| l.starts_with("headroom_optimizer_runs_total{"));
        runs.filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
    };
    eventually("all have ended", 60, || (sum() > FLOOD).then_some(()));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(sum(), FLOOD + 1, "a run ends once");
    assert_eq!(optimizer.metric("headroom_optimizer_runs_waiting"), 0.0);
}

#[test]
fn what_was_freed_before_an_interruption_counts_at_the_end() {
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    // Two rungs: the first frees memory, and the second has no right to begin (the rate limit).
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let sample = dir.path().join("sample");
    std::os::unix::fs::symlink(HEADROOM, &sample).unwrap();
    let mut command = Command::new(&sample);
    command.args(["demo-app", "--listen", &address.to_string(), "--grow", "400", "--most", "200"]);
    let app = Running::start(&mut command, &dir.path().join("app.log"));
    eventually("the cache is full", 30, || {
        let (_, page) = get(&format!("http://{address}/metrics"))?;
        crate::page::value(&page, "demo_cache_bytes").filter(|b| *b >= f64::from(200 << 20))
    });
    let top =
        format!("process_groups: [{{name: held, cmdline: ['--listen {address}'], memory_budget: 1MiB}}]");
    let text = format!(
        "  guards: {{cooldown: 0s, target_cooldown: 0s, actions_per_hour: 1}}\n  policies:\n  - {{name: p, match: \
         ['headroom_action=reclaim'], target_label: groupname, ladder: [app_hook, pageout]}}\n  targets: [{{name: held, \
         process_group: held, hook: {{url: 'http://{address}/headroom/reclaim'}}}}]\n"
    );
    let optimizer = Optimizer::start(&top, &text);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(30);
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    assert!(entry["freed_bytes"].as_u64().unwrap() >= 8 << 20, "{entry:#}");
    drop(app);
}
