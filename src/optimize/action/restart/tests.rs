//! Tests of the evidence, the verdict, and a systemd that answers as it likes.

use super::*;
use crate::host::Host;
use crate::host::dbus::tests::{Body, serve};
use crate::optimize::action::scenes::Stage;
use crate::optimize::observe::TargetMemory;
use crate::optimize::observe::facts::ProcessFacts;
use crate::optimize::policy::restart::Restart as Configured;
use serde_json::json;
use std::sync::Mutex;

const GIB: u64 = 1 << 30;

fn stage() -> Stage {
    let mut stage = Stage::group(2, GIB);
    stage.target.memory_budget = Some(ByteSize::mib(512));
    stage.target.restart =
        Some(Configured { systemd_unit: Some("shop.service".into()), ..Configured::default() });
    stage
}

fn refusal(stage: &Stage) -> String {
    assert_eq!(Restart.check(&stage.with), Ok(()));
    Restart.plan(&stage.scene()).unwrap_err().0
}

#[test]
fn only_a_target_with_evidence_against_it_is_started_again() {
    let mut stage = stage();
    let plan = Restart.plan(&stage.scene()).unwrap();
    assert_eq!(plan.intent["way"], json!({"systemd": {"unit": "shop.service", "socket": null}}));
    assert_eq!(plan.expected_bytes, Some(GIB));
    stage.target.memory_budget = Some(ByteSize::gib(1));
    assert_eq!(refusal(&stage), "it holds 1.0 GiB, which is within its budget of 1.0 GiB");
    stage.target.memory_budget = None;
    assert!(refusal(&stage).starts_with("no evidence"));
    stage.with = json!({"only_if_growing_for": "30s", "min_growth": "1MiB"});
    assert_eq!(Restart.wants(&stage.with).growth, Some(Duration::from_secs(30)));
    assert_eq!(refusal(&stage), "it grew by 0 B a second over 30s; 1.0 MiB would be evidence");
    let half = ProcessFacts { growth_bytes: Some(512 << 10), ..ProcessFacts::default() };
    stage.before.target.as_mut().unwrap().facts.processes = vec![half.clone(), half];
    assert!(Restart.plan(&stage.scene()).is_ok());
    stage.target.restart = None;
    assert_eq!(refusal(&stage), "the target has no `restart` configured");
    for wrong in [json!({"only_if_growing_for": "2m"}), json!({"min_growth": "0"}), json!({"unit": "x"})] {
        assert!(Restart.check(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_restart_that_did_not_help_makes_the_next_wait_longer() {
    let mut stage = stage();
    let now = stage.before.at_millis;
    stage.history.on_target = vec![(now - 3_600_000, Some("no_gain".into()))];
    assert!(refusal(&stage).starts_with("at most once in 2h on this target, as the last 1 did not help"));
    stage.history.on_target[0].1 = Some("freed".into());
    assert!(Restart.plan(&stage.scene()).is_ok());
}

#[test]
fn what_comes_up_as_large_as_before_or_not_at_all_is_no_gain() {
    let look = |bytes: u64, processes: u64, available: u64| {
        let mut seen = Observation::default();
        seen.machine.available_bytes = available;
        seen.target = Some(TargetMemory { bytes, processes, ..TargetMemory::default() });
        seen
    };
    let before = look(1000, 2, 5000);
    let verdict = |after: &Observation| Restart.verify(&before, after, 1);
    assert_eq!(verdict(&look(600, 1, 5400)), Verdict::Freed { bytes: 400 });
    let why = |after: &Observation| match verdict(after) {
        Verdict::NoGain { why } => why,
        other => panic!("{other:?}"),
    };
    assert!(why(&look(700, 1, 5400)).starts_with("the target holds 70 %"));
    assert_eq!(why(&look(0, 0, 6000)), "nobody has taken the target's place");
    assert_eq!(why(&Observation { target: None, ..look(0, 0, 6000) }), "nobody has taken the target's place");
    assert!(why(&look(600, 1, 5000)).contains("the machine has 0 B more available"));
}

#[test]
fn every_key_of_a_restart_is_checked() {
    let check =
        |text: &str| serde_yaml::from_str::<Configured>(text).unwrap().check().map_err(|(key, _)| key);
    for good in [
        "{systemd_unit: 'a@b.service', health: {tcp: '[::1]:80'}}",
        "{docker: shop, socket: /tmp/d.sock, health: {http: 'https://x/'}}",
        "{kubernetes: {pod: store-0}}",
        "{command: [/bin/true], health: {command: [/bin/true]}}",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (text, key) in [
        ("{}", "systemd_unit"),
        ("{docker: a, podman: b}", "systemd_unit"),
        ("{systemd_unit: ssh}", "systemd_unit"),
        ("{systemd_unit: '../a.service'}", "systemd_unit"),
        ("{docker: 'a/../b'}", "docker"),
        ("{podman: '-a'}", "podman"),
        ("{docker: a, socket: b}", "socket"),
        ("{docker: a, grace: 1h}", "grace"),
        ("{command: [sh, -c, x]}", "command"),
        ("{docker: a, health: {}}", "health.http"),
        ("{docker: a, health: {tcp: 'x'}}", "health.tcp"),
        ("{docker: a, health: {command: [x]}}", "health.command"),
        ("{kubernetes: {}}", "kubernetes.pod"),
        ("{kubernetes: {pod: 'a/b'}}", "kubernetes.pod"),
        ("{kubernetes: {pod: a, namespace: 'a/b'}}", "kubernetes.namespace"),
        ("{kubernetes: {selector: ' '}}", "kubernetes.selector"),
        ("{kubernetes: {pod: a, server: {url: x}}}", "kubernetes.server.url"),
    ] {
        assert_eq!(check(text), Err(key.to_owned()), "{text}");
    }
}

/// A systemd that knows one unit, which is `load`, and ends up in `state` after its restart.
fn restart(load: &'static str, state: &'static str, moves: bool) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private");
    let restarts = Mutex::new(0);
    serve(&path, move |call| {
        let mut restarts = restarts.lock().unwrap();
        let body = Body::default();
        Some(match call {
            c if c.contains("RestartUnit") => {
                assert!(c.contains("shop.service") && c.contains("replace"), "{c}");
                *restarts += 1;
                body.text("/job/1")
            }
            c if c.contains("LoadUnit") => body.text("/unit/shop"),
            c if c.contains("LoadState") => body.variant_text(load),
            c if c.contains("ActiveState") && *restarts > 0 => body.variant_text(state),
            c if c.contains("ActiveState") => body.variant_text("active"),
            c if c.contains("Result") => body.variant_text("start-limit-hit"),
            c if c.contains("ActiveEnterTimestampMonotonic") => {
                body.variant_u64(if moves { 7 + *restarts } else { 7 })
            }
            other => panic!("{other}"),
        })
    });
    let never = || None;
    let watch = Watch::new(Duration::from_mins(1), &never);
    let waiting = Waiting { within: Duration::from_millis(500), watch: &watch };
    systemd::restart("shop.service", Some(&path), &Host::default(), &waiting)
}

#[test]
fn a_unit_is_restarted_when_systemd_says_since_when_it_is_active_again() {
    assert_eq!(restart("loaded", "active", true).unwrap(), "systemd has restarted shop.service");
    assert_eq!(
        restart("not-found", "active", true).unwrap_err(),
        "systemd has no unit shop.service: it is not-found"
    );
    assert_eq!(
        restart("loaded", "failed", true).unwrap_err(),
        "the unit shop.service failed: start-limit-hit"
    );
    // Still the old start, or on its way: neither counts.
    for (state, moves) in [("active", false), ("activating", true)] {
        let why = restart("loaded", state, moves).unwrap_err();
        assert_eq!(why, "it was asked for; not within 500ms: the unit shop.service is active again");
    }
}
