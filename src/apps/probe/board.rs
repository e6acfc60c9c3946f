//! The board: what is known of every component, and its samples.

use super::Probe;
use super::ask::{Failure, Reason};
use super::judge::{Judge, Outcome, State};
use crate::metric::{Desc, Sink, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const STATUS: Desc<'static> = Desc::gauge(
    "headroom_health_status",
    "Whether the component is in this state: 1 for one state, 0 for the others.",
    &["component", "state"],
);
const DURATION: Desc<'static> =
    Desc::gauge("headroom_health_probe_duration_seconds", "How long the last try took.", &["component"]);
const LAST: Desc<'static> = Desc::gauge(
    "headroom_health_last_success_timestamp_seconds",
    "When a try last succeeded; absent before the first.",
    &["component"],
);
const PROBES: Desc<'static> =
    Desc::counter("headroom_health_probes_total", "Tries, by component.", &["component"]);
const FAILURES: Desc<'static> = Desc::counter(
    "headroom_health_failures_total",
    "Tries that failed, by component and by what.",
    &["component", "reason"],
);

const DELAYS: Desc<'static> = Desc::counter(
    "headroom_health_delays_total",
    "Tries of commands that had to wait because too many others ran, by component.",
    &["component"],
);

/// The wall clock, in milliseconds since the epoch.
pub type Clock = fn() -> i64;

/// What is known of all components; who has a copy sees the same.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<Box<str>, Component>>>);

/// What is known of one component.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) probe: Probe,
    judge: Judge,
    /// Of the last try.
    pub(super) duration: Option<Duration>,
    pub(super) last_success_millis: Option<i64>,
    pub(super) failure: Option<Failure>,
    probes: u64,
    pub(super) delays: u64,
    failures: BTreeMap<Reason, u64>,
}

impl Component {
    fn new(probe: &Probe) -> Self {
        Self {
            probe: probe.clone(),
            judge: Judge::new(probe),
            duration: None,
            last_success_millis: None,
            failure: None,
            probes: 0,
            delays: 0,
            failures: Reason::of(probe).iter().map(|reason| (*reason, 0)).collect(),
        }
    }

    pub(super) fn state(&self, now: Instant) -> State {
        self.judge.state(now)
    }
}

/// The end of a try.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) took: Duration,
    pub(super) result: Result<(), Failure>,
    pub(super) now: Instant,
    pub(super) wall_millis: i64,
}

impl Board {
    /// Watches these components from now on. What is known of one whose probe did not change, stays.
    pub fn show(&self, probes: &[Probe]) {
        let mut components = self.lock();
        let mut before = std::mem::take(&mut *components);
        for probe in probes {
            let known = before.remove(probe.component.as_str()).filter(|known| known.probe == *probe);
            let component = known.unwrap_or_else(|| Component::new(probe));
            components.insert(probe.component.as_str().into(), component);
        }
    }

    /// Takes the end of a try; returns the states before and after it.
    pub(super) fn take(&self, probe: &Probe, tried: Tried) -> Option<(State, State)> {
        let mut components = self.lock();
        // A reload may have taken it away, or given its name to another.
        let component =
            components.get_mut(probe.component.as_str()).filter(|component| component.probe == *probe)?;
        let before = component.state(tried.now);
        let outcome = match &tried.result {
            Ok(()) if tried.took > probe.slow => Outcome::Slow,
            Ok(()) => Outcome::Fast,
            Err(_) => Outcome::Failed,
        };
        component.judge.take(outcome, tried.now);
        component.probes += 1;
        component.duration = Some(tried.took);
        match tried.result {
            Ok(()) => (component.last_success_millis, component.failure) = (Some(tried.wall_millis), None),
            Err(failure) => {
                *component.failures.entry(failure.reason).or_default() += 1;
                component.failure = Some(failure);
            }
        }
        Some((before, component.state(tried.now)))
    }

    /// Counts a try that has to wait for others.
    pub(super) fn delay(&self, probe: &Probe) {
        if let Some(component) = self.lock().get_mut(probe.component.as_str()) {
            component.delays += 1;
        }
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn components(&self) -> Vec<Component> {
        self.lock().values().cloned().collect()
    }

    /// Writes the samples.
    pub(in crate::apps) fn write(&self, now: Instant, out: &mut dyn Sink) {
        let components = self.components();
        if components.is_empty() {
            return;
        }
        out.family(&STATUS);
        for component in &components {
            let holds = component.state(now);
            for state in State::ALL {
                let value = Value::U64((state == holds).into());
                out.sample(&[&component.probe.component, state.as_str()], value);
            }
        }
        let each =
            |out: &mut dyn Sink, desc: &Desc<'_>, of: &dyn Fn(&Component) -> Option<Value<'static>>| {
                out.family(desc);
                for component in &components {
                    if let Some(value) = of(component) {
                        out.sample(&[&component.probe.component], value);
                    }
                }
            };
        each(out, &DURATION, &|c| c.duration.map(|took| Value::F64(took.as_secs_f64())));
        each(out, &LAST, &|c| c.last_success_millis.map(|at| Value::F64(seconds(at))));
        each(out, &PROBES, &|c| Some(Value::U64(c.probes)));
        if components.iter().any(|c| !c.probe.command.is_empty()) {
            each(out, &DELAYS, &|c| (!c.probe.command.is_empty()).then_some(Value::U64(c.delays)));
        }
        out.family(&FAILURES);
        for component in &components {
            for (reason, count) in &component.failures {
                out.sample(&[&component.probe.component, reason.as_str()], Value::U64(*count));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Component>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds as seconds; a clock from before the epoch says nothing but that.
pub(super) fn seconds(millis: i64) -> f64 {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    fn page(board: &Board, now: Instant) -> String {
        let mut out = TextEncoder::default();
        board.write(now, &mut out);
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    fn probe(component: &str) -> Probe {
        Probe { component: component.into(), tcp: Some("a:1".into()), failures: 1, ..Probe::default() }
    }

    #[test]
    fn one_state_holds_and_what_never_was_is_absent() {
        let (board, now) = (Board::default(), Instant::now());
        assert_eq!(page(&board, now), "");
        board.show(&[probe("a")]);
        let text = page(&board, now);
        assert!(text.contains("headroom_health_status{component=\"a\",state=\"unknown\"} 1\n"), "{text}");
        assert!(text.contains("headroom_health_status{component=\"a\",state=\"healthy\"} 0\n"), "{text}");
        assert!(text.contains("headroom_health_failures_total{component=\"a\",reason=\"timeout\"} 0\n"));
        assert!(!text.contains("headroom_health_last_success_timestamp_seconds{"), "{text}");
        assert!(!text.contains("headroom_health_probe_duration_seconds{"), "{text}");

        let tried =
            |result| Tried { took: Duration::from_millis(250), result, now, wall_millis: 1_700_000_000_500 };
        let states = board.take(&probe("a"), tried(Ok(())));
        assert_eq!(states, Some((State::Unknown, State::Healthy)));
        let failed = board.take(&probe("a"), tried(Err(Failure::new(Reason::Connect, "refused"))));
        assert_eq!(failed, Some((State::Healthy, State::Unhealthy)));
        let text = page(&board, now);
        assert!(text.contains("headroom_health_status{component=\"a\",state=\"unhealthy\"} 1\n"), "{text}");
        assert!(text.contains("headroom_health_probe_duration_seconds{component=\"a\"} 0.25\n"), "{text}");
        assert!(
            text.contains(
                "headroom_health_last_success_timestamp_seconds{component=\"a\"} 1.7000000005e+09\n"
            ) || text
                .contains("headroom_health_last_success_timestamp_seconds{component=\"a\"} 1700000000.5\n"),
            "{text}"
        );
        assert!(text.contains("headroom_health_failures_total{component=\"a\",reason=\"connect\"} 1\n"));
        assert!(text.contains("headroom_health_probes_total{component=\"a\"} 2\n"), "{text}");
    }

    #[test]
    fn a_reload_keeps_what_did_not_change_and_forgets_what_went() {
        let (board, now) = (Board::default(), Instant::now());
        board.show(&[probe("a"), probe("b"), probe("c")]);
        let tried = || Tried { took: Duration::ZERO, result: Ok(()), now, wall_millis: 0 };
        for name in ["a", "b", "c"] {
            board.take(&probe(name), tried());
        }
        let other = Probe { failures: 9, ..probe("b") };
        board.show(&[probe("a"), other]);
        let states: Vec<_> = board.components().iter().map(|c| c.state(now)).collect();
        assert_eq!(states, [State::Healthy, State::Unknown]);
        assert_eq!(board.take(&probe("b"), tried()), None, "the try of a probe that is no more");
        assert_eq!(board.take(&probe("c"), tried()), None);
    }
}
