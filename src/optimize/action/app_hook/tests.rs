//! Plans of the hook.

use super::*;
use crate::optimize::action::scenes::Stage;
use crate::optimize::policy::Hook;
use serde_json::json;

fn stage(with: Value) -> Stage {
    let mut stage = Stage::group(2, 1 << 30);
    let hook = |kind: Option<&str>, url: &str| Hook {
        kind: kind.map(Into::into),
        url: Some(url.into()),
        ..Hook::default()
    };
    stage.target.hook = Some(hook(None, "http://plain/s3cret"));
    stage.target.hooks =
        vec![hook(Some("gc"), "http://gc:8080/h"), hook(Some("prune"), "http://prune?key=s3cret")];
    stage.with = with;
    stage
}

#[test]
fn a_rung_asks_the_hook_of_its_kind_and_without_one_the_first() {
    let asked = |with| {
        let plan = AppHook.plan(&stage(with).scene()).unwrap();
        (plan.intent["way"]["http"]["url"].clone(), plan.intent["request"].get("kind").cloned())
    };
    // A path may be a secret.
    assert_eq!(asked(Value::Null), (json!("http://plain"), None));
    assert_eq!(asked(json!({"kind": "gc"})), (json!("http://gc:8080"), Some(json!("gc"))));
    assert_eq!(asked(json!({"kind": "prune"})), (json!("http://prune"), Some(json!("prune"))));
    let refusal = AppHook.plan(&stage(json!({"kind": "trim"})).scene()).unwrap_err();
    assert_eq!(refusal.0, "the target has no hook of the kind trim configured");
    let mut without = stage(Value::Null);
    (without.target.hook, without.target.hooks) = (None, vec![]);
    assert_eq!(AppHook.plan(&without.scene()).unwrap_err().0, "the target has no hook configured");
}

#[test]
fn options_are_checked_when_the_file_is_read() {
    assert_eq!(AppHook.check(&json!({"kind": "gc"})), Ok(()));
    assert!(AppHook.check(&json!({"kidn": "gc"})).is_err());
}

#[test]
fn what_is_wrong_with_a_hook_has_its_place() {
    use crate::optimize::policy::Target;
    let wrong = |yaml: &str| {
        let target: Target = serde_yaml::from_str(yaml).unwrap();
        target.check_hooks().err().map_or("good".to_owned(), |(key, why)| format!("{key}: {why}"))
    };
    for (yaml, want) in [
        ("{hook: {unix: /run/x}, hooks: [{kind: gc, unix: /run/x, url: 'http://x/gc'}]}", "good"),
        ("{hooks: [{kind: gc}]}", "hooks[0].url: give "),
        ("{hooks: [{kind: a, signal: SIGUSR1, largest: 1}, {kind: b, command: [/bin/true, -x]}]}", "good"),
        ("{hook: {signal: SIGKILL}}", "hook.signal: one of SIGHUP, "),
        ("{hook: {signal: SIGUSR1, largest: 0}}", "hook.largest: at least 1"),
        ("{hook: {largest: 1}}", "hook.signal: one of"),
        ("{hook: {signal: SIGUSR1, url: 'http://x/'}}", "hook.url: one way"),
        ("{hook: {command: [true]}}", "hook.command: a list that begins"),
        ("{hook: {command: [/x], token_file: y}}", "hook.url: one way"),
        ("{hook: {token_file: y}}", "hook.token_file: a token is for"),
        ("{hook: {pressure_socket: /run/x, mode: 0660, owner: 'cache:33'}}", "good"),
        ("{hook: {pressure_socket: /run/x, owner: ':cache'}}", "good"),
        ("{hook: {pressure_socket: run/x}}", "hook.pressure_socket: an absolute path"),
        ("{hook: {mode: 0660}}", "hook.pressure_socket: an absolute path"),
        ("{hook: {pressure_socket: /run/x, mode: 0o660}}", "hook.mode: an octal number"),
        ("{hook: {pressure_socket: /run/x, mode: '888'}}", "hook.mode: an octal number"),
        ("{hook: {pressure_socket: /run/x, mode: '7777'}}", "hook.mode: an octal number"),
        ("{hook: {pressure_socket: /run/x, owner: 'a b'}}", "hook.owner: user"),
        ("{hook: {pressure_socket: /run/x, owner: 'a:'}}", "hook.owner: user"),
        ("{hook: {pressure_socket: /run/x, unix: /y}}", "hook.url: one way"),
        ("{hook: {pressure_fifo: /run/x}}", "good"),
        ("{hook: {pressure_fifo: run/x}}", "hook.pressure_fifo: an absolute path"),
        ("{hook: {pressure_fifo: /run/x, mode: '0660'}}", "hook.url: one way"),
        ("{hooks: [{kind: gc, unix: run/x}]}", "hooks[0].unix: an absolute path"),
        ("{hooks: [{kind: 'a b', unix: /x}]}", "hooks[0].kind: a word"),
        ("{hooks: [{kind: gc, unix: /x}, {kind: gc, unix: /y}]}", "hooks[1].kind: another hook"),
        ("{hook: {unix: /x}, hooks: [{unix: /y}]}", "hooks[0].kind: another hook"),
        ("{hook: {unix: /x, timeout: 2m}}", "hook.timeout: from 1ms to 1m"),
    ] {
        assert!(wrong(yaml).starts_with(want), "{yaml}: {}", wrong(yaml));
    }
}

#[test]
fn a_signal_is_for_the_largest_processes_and_never_for_the_first_or_a_kernel_thread() {
    use crate::optimize::observe::Member;
    let mut stage = stage(Value::Null);
    let member = |pid: u32, kernel_thread: bool| Member {
        pid,
        start_ticks: u64::from(pid) * 10,
        comm: "x".into(),
        kernel_thread,
        container: None,
        anon_bytes: None,
    };
    stage.members =
        vec![member(1, false), member(2, true), member(7, false), member(8, false), member(9, false)];
    stage.before.target.as_mut().unwrap().resident_by_pid = vec![(1, 99), (2, 99), (7, 5), (8, 20), (9, 10)];
    let mut pids = |largest| {
        stage.target.hook = Some(Hook { signal: Some("SIGUSR1".into()), largest, ..Hook::default() });
        let intent: Intent = intent(&AppHook.plan(&stage.scene()).unwrap().intent).unwrap();
        intent.receivers.iter().map(|r| (r.pid, r.start_ticks)).collect::<Vec<_>>()
    };
    assert_eq!(pids(None), [(8, 80), (9, 90), (7, 70)]);
    assert_eq!(pids(Some(1)), [(8, 80)]);
}

#[test]
fn a_socket_is_for_one_hook_alone_and_is_passed_over_while_nobody_is_connected() {
    use crate::optimize::policy::{Target, hook};
    let socket = |path: &str| Some(Hook { pressure_socket: Some(path.into()), ..Hook::default() });
    let target = |path: &str| Target { hook: socket(path), ..Target::default() };
    assert_eq!(hook::check_sockets(&[target("/run/a"), target("/run/b")]), Ok(()));
    let (key, why) = hook::check_sockets(&[target("/run/a"), target("/run/a")]).unwrap_err();
    assert_eq!((key.as_str(), why.contains("/run/a")), ("optimizer.targets[1].hooks", true));

    let mut stage = stage(Value::Null);
    stage.target.hook = socket("/run/a");
    let mut planned = |audience: &[(&str, usize)]| {
        let facts = &mut stage.before.target.as_mut().unwrap().facts;
        facts.audience = audience.iter().map(|(path, n)| (path.into(), *n)).collect();
        AppHook.plan(&stage.scene()).map(|plan| plan.intent["way"]["pressure_socket"]["path"].clone())
    };
    assert_eq!(planned(&[("/run/a", 2)]), Ok(json!("/run/a")));
    assert_eq!(planned(&[("/run/b", 2)]).unwrap_err().0, "no program is connected to /run/a");
    assert!(planned(&[]).is_err());
}
