//! The target is started again: what it gathered is gone, and so is what it had not saved.

mod container;
mod health;
mod pod;
mod systemd;

use super::app_hook::command;
use super::{
    ActError, Action, Explanation, Plan, Refusal, Scene, Target, Wants, Watch, backoff, intent, options,
};
use crate::host::hand::Hand;
use crate::optimize::observe::Observation;
use crate::optimize::policy::restart::{Health, PART_MAX, Way};
use crate::optimize::verify::{Effect, Verdict, judge};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Between two looks whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Above this share of what it held before, the new start was for nothing, in percent.
const HELD_PERCENT_MAX: u64 = 70;
/// Growth is told from two looks at least so far apart, and at most so far.
const GROWING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// Starts the target again.
pub struct Restart;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Only if it has grown over this time, whatever its budget says.
    #[serde(with = "humantime_serde")]
    only_if_growing_for: Option<Duration>,
    /// What counts as growth, in a second.
    min_growth: ByteSize,
}

impl Default for Options {
    fn default() -> Self {
        Self { only_if_growing_for: None, min_growth: ByteSize::kib(64) }
    }
}

/// What the record has: who is asked stands in the target's configuration.
#[derive(Serialize)]
struct Intent<'a> {
    way: &'a Way,
    target: &'a str,
    want_bytes: u64,
    grace_millis: u64,
    within_millis: u64,
    health: Option<&'a Health>,
}

/// What is read back.
#[derive(Deserialize)]
struct Said {
    want_bytes: u64,
    grace_millis: u64,
    within_millis: u64,
}

/// How long something is waited for, and who may end that.
#[derive(Clone, Copy)]
struct Waiting<'a> {
    within: Duration,
    watch: &'a Watch<'a>,
}

impl Action for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "starts the target again, gracefully: a unit of systemd, a container of Docker or Podman, a pod of Kubernetes (evicted, as disruption budgets allow, or deleted), or by a command; then waits until it is healthy",
            cost: "the target does not serve until it is up again, and what it had not saved is lost; callers see errors unless others take over",
            capabilities: &[],
            needs: "`restart` in the target's configuration; evidence: the target is over its memory_budget, or grows (`with: {only_if_growing_for: 30s}`); at most once an hour on a target, and half as often after each that did not help; the right to ask systemd (root or polkit), the engine's socket (as good as root), or in Kubernetes create on pods/eviction, get, list and delete on pods",
            verified: "the target must be there again with less than 70 % of what it held, and the machine's available memory rise",
            undone: "cannot be undone",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Ends
    }

    fn time_max(&self) -> Duration {
        // Its end, its new start, its check.
        PART_MAX * 3
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let o = options::<Options>(with)?;
        if o.only_if_growing_for.is_some_and(|span| !(GROWING.0..=GROWING.1).contains(&span)) {
            return Err("only_if_growing_for: from 100ms to 1m".to_owned());
        }
        if o.min_growth.as_u64() == 0 {
            return Err("min_growth: more than 0".to_owned());
        }
        Ok(())
    }

    fn wants(&self, with: &Value) -> Wants {
        let growth = options::<Options>(with).unwrap_or_default().only_if_growing_for;
        Wants { facts: growth.is_some(), growth: growth.map(|span| span.clamp(GROWING.0, GROWING.1)) }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let o: Options = options(scene.with).map_err(Refusal)?;
        let restart = scene.target.restart.as_ref();
        let restart = restart.ok_or_else(|| Refusal("the target has no `restart` configured".into()))?;
        let held = scene.before.target.as_ref().map_or(0, |t| t.bytes);
        evidence(scene, &o, held)?;
        backoff::admit(scene.history, restart.at_most_every, scene.before.at_millis)?;
        let way = restart.way().map_err(|(key, why)| Refusal(format!("restart.{key}: {why}")))?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let intent = Intent {
            way: &way,
            target: &scene.target.name,
            want_bytes: scene.want_bytes,
            grace_millis: millis(restart.grace),
            within_millis: millis(restart.within),
            health: restart.health.as_ref(),
        };
        Plan::new(Some(held), &intent)
    }

    fn execute(
        &self,
        plan: &Value,
        target: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let said: Said = intent(plan)?;
        let restart = target.restart.as_ref();
        let restart = restart.ok_or_else(|| ActError::Failed("the target has no `restart`".to_owned()))?;
        let way = restart.way().map_err(|(key, why)| ActError::Failed(format!("restart.{key}: {why}")))?;
        let note = carry_out(&said, (&way, &target.name), hand, watch).map_err(ActError::Failed)?;
        let Some(health) = &restart.health else { return Ok(note) };
        let waiting = Waiting { within: health.within, watch };
        match health::wait(health, &waiting) {
            Ok(()) => Ok(format!("{note}, and is healthy")),
            Err(why) => Err(ActError::Failed(format!("{note}; {why}"))),
        }
    }

    fn verify(&self, before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
        let (held, holds) = (before.target.as_ref(), after.target.as_ref());
        if holds.is_none_or(|t| t.processes == 0) && held.is_some_and(|t| t.processes > 0) {
            return Verdict::NoGain { why: "nobody has taken the target's place".into() };
        }
        let percent = |bytes: u64| bytes.saturating_mul(100) / held.map_or(1, |t| t.bytes).max(1);
        match holds.map(|t| percent(t.bytes)) {
            Some(percent) if percent >= HELD_PERCENT_MAX => Verdict::NoGain {
                why: format!(
                    "the target holds {percent} % of what it held; less than {HELD_PERCENT_MAX} % would count"
                ),
            },
            _ => judge(self.effect(), before, after, min_gain_bytes),
        }
    }
}

/// Whether it is the target that has too much, and not only the machine too little.
fn evidence(scene: &Scene<'_>, o: &Options, held: u64) -> Result<(), Refusal> {
    if let Some(span) = o.only_if_growing_for {
        let facts = scene.before.target.iter().flat_map(|t| &t.facts.processes);
        let growth = facts.filter_map(|p| p.growth_bytes).sum::<u64>();
        if growth >= o.min_growth.as_u64() {
            return Ok(());
        }
        let [grown, least] = [growth, o.min_growth.as_u64()].map(|b| ByteSize::b(b).display().iec());
        let span = humantime::format_duration(span);
        return Err(Refusal(format!("it grew by {grown} a second over {span}; {least} would be evidence")));
    }
    match scene.target.memory_budget {
        Some(budget) if held > budget.as_u64() => Ok(()),
        Some(budget) => {
            let [held, budget] = [held, budget.as_u64()].map(|b| ByteSize::b(b).display().iec());
            Err(Refusal(format!("it holds {held}, which is within its budget of {budget}")))
        }
        None => Err(Refusal("no evidence: give it a memory_budget, or the rung only_if_growing_for".into())),
    }
}

fn carry_out(
    said: &Said,
    (way, target): (&Way, &str),
    hand: &Hand,
    watch: &Watch<'_>,
) -> Result<String, String> {
    let grace = Duration::from_millis(said.grace_millis);
    let waiting = Waiting { within: Duration::from_millis(said.within_millis), watch };
    match way {
        Way::Systemd { unit, socket } => systemd::restart(unit, socket.as_deref(), hand.host(), &waiting),
        Way::Container { name, socket } => container::restart(name, socket, grace, &waiting),
        Way::Kubernetes(of) => pod::restart(of, grace, &waiting),
        Way::Command(argv) => {
            let bytes = said.want_bytes.to_string();
            let environment = [("HEADROOM_TARGET", target), ("HEADROOM_BYTES", &bytes)];
            command::start(argv, &environment, waiting.within, watch)
        }
    }
}

/// Looks until there is an answer, an error, the end of the time, or somebody who says stop.
fn until<T>(
    waiting: &Waiting<'_>,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + waiting.within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            let within = humantime::format_duration(waiting.within);
            return Err(format!("it was asked for; not within {within}: {what}"));
        }
        if let Some(why) = waiting.watch.sleep(LOOK_EVERY) {
            return Err(format!("it was asked for and not waited for: {why}"));
        }
    }
}

#[cfg(test)]
mod tests;
