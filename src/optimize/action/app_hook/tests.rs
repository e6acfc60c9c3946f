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
    stage.target.hook = Some(hook(None, "http://h/plain"));
    stage.target.hooks = vec![hook(Some("gc"), "http://h/gc"), hook(Some("prune"), "http://h/prune")];
    stage.with = with;
    stage
}

#[test]
fn a_rung_asks_the_hook_of_its_kind_and_without_one_the_first() {
    let asked = |with| {
        let plan = AppHook.plan(&stage(with).scene()).unwrap();
        (plan.intent["way"]["http"]["url"].clone(), plan.intent["request"].get("kind").cloned())
    };
    assert_eq!(asked(Value::Null), (json!("http://h/plain"), None));
    assert_eq!(asked(json!({"kind": "gc"})), (json!("http://h/gc"), Some(json!("gc"))));
    assert_eq!(asked(json!({"kind": "prune"})), (json!("http://h/prune"), Some(json!("prune"))));
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
        ("{hooks: [{kind: gc, unix: run/x}]}", "hooks[0].unix: an absolute path"),
        ("{hooks: [{kind: 'a b', unix: /x}]}", "hooks[0].kind: a word"),
        ("{hooks: [{kind: gc, unix: /x}, {kind: gc, unix: /y}]}", "hooks[1].kind: another hook"),
        ("{hook: {unix: /x}, hooks: [{unix: /y}]}", "hooks[0].kind: another hook"),
        ("{hook: {unix: /x, timeout: 2m}}", "hook.timeout: from 1ms to 1m"),
    ] {
        assert!(wrong(yaml).starts_with(want), "{yaml}: {}", wrong(yaml));
    }
}
