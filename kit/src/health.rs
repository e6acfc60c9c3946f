//! How the application's components are: checks that it names, states that it sets, and one answer for all.

use crate::metrics::Metrics;
use crate::part::PartError;
use crate::reclaim::caller::{Away, Called, Caller};
use crate::reclaim::lock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The time for one check.
const CHECK: Duration = Duration::from_secs(1);
/// Components at one time; what is over is refused.
const COMPONENTS_MAX: usize = 200;

/// How a component is. The words are those of `headroom_health_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Healthy,
    /// It serves, but not as it should.
    Degraded,
    /// Not known yet: it is being started.
    Unknown,
    /// It does not serve.
    Unhealthy,
}

impl State {
    const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Unknown];

    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Its name.
    pub component: String,
    /// How it is.
    pub state: State,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// All components and the worst of their states; as JSON it is the answer of `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst; healthy if there are none.
    pub state: State,
    /// One by one.
    pub components: Vec<Component>,
}

impl Report {
    /// Whether all of it serves.
    pub fn serves(&self) -> bool {
        self.state <= State::Degraded
    }
}

type Check = dyn Fn() -> Result<(), PartError> + Send + Sync;

#[derive(Clone)]
enum Source {
    Set(State, String),
    Asked(Arc<Check>, Away),
}

/// Components by name; clones are the same ones.
#[derive(Clone, Default)]
pub struct Health {
    components: Arc<Mutex<BTreeMap<String, Source>>>,
    /// Who asks: one after the other, so that a check that runs for one is not taken for one that hangs by another.
    looks: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let health = Self::default();
        let shown = IntGaugeVec::new(opts(), &["component", "state"]).and_then(|states| {
            metrics.registry().register(Box::new(Shown { health: health.clone(), states }))
        });
        if let Err(error) = shown {
            tracing::error!(%error, "health is not shown");
        }
        health
    }

    /// Asks the function whenever somebody wants to know; an error is why it is unhealthy. It has a second.
    pub fn check(&self, component: &str, check: impl Fn() -> Result<(), PartError> + Send + Sync + 'static) {
        self.keep(component, Source::Asked(Arc::new(check), Away::default()));
    }

    /// Sets the state of a component that knows it by itself, and why it is that.
    pub fn set(&self, component: &str, state: State, why: &str) {
        self.keep(component, Source::Set(state, why.into()));
    }

    /// Forgets a component.
    pub fn forget(&self, component: &str) {
        lock(&self.components).remove(component);
    }

    fn keep(&self, component: &str, source: Source) {
        let mut components = lock(&self.components);
        if components.len() >= COMPONENTS_MAX && !components.contains_key(component) {
            tracing::error!(component, "there are {COMPONENTS_MAX} components already");
            return;
        }
        components.insert(component.into(), source);
    }

    /// How all are now. A check that hangs is unhealthy, and is not asked again before it is back.
    pub fn report(&self) -> Report {
        let _alone = lock(&self.looks);
        let sources: Vec<_> =
            lock(&self.components).iter().map(|(name, source)| (name.clone(), source.clone())).collect();
        let mut caller = Caller::default();
        let components: Vec<_> = sources
            .into_iter()
            .map(|(component, source)| {
                let (state, why) = match source {
                    Source::Set(state, why) => (state, why),
                    Source::Asked(check, away) => asked(&mut caller, check, &away),
                };
                Component { component, state, why }
            })
            .collect();
        let state = components.iter().map(|c| c.state).max().unwrap_or(State::Healthy);
        Report { state, components }
    }
}

fn asked(caller: &mut Caller, check: Arc<Check>, away: &Away) -> (State, String) {
    let why = match caller.call(away, CHECK, move || check().map_err(|e| e.to_string())) {
        Called::Back(Ok(Ok(()))) => return (State::Healthy, String::new()),
        Called::Back(Ok(Err(why)) | Err(why)) => why,
        Called::Late => format!("no answer within {CHECK:?}"),
        Called::Busy => "an earlier check has not come back".into(),
    };
    (State::Unhealthy, why)
}

fn opts() -> Opts {
    Opts::new("headroom_kit_health_status", "1 for the state that a component is in, 0 for the others.")
}

/// States when the page is made.
struct Shown {
    health: Health,
    states: IntGaugeVec,
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.states.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Fresh ones: two pages may be made at the same time.
        let Ok(states) = IntGaugeVec::new(opts(), &["component", "state"]) else { return Vec::new() };
        for component in self.health.report().components {
            for state in State::ALL {
                let holds = i64::from(component.state == state);
                states.with_label_values(&[component.component.as_str(), state.as_str()]).set(holds);
            }
        }
        states.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_component_is_the_state_of_all() {
        let metrics = Metrics::default();
        let health = Health::new(&metrics);
        assert!(health.report().serves());
        health.check("disk", || Ok(()));
        health.set("queue", State::Degraded, "10,000 are waiting");
        let report = health.report();
        assert!(report.serves() && report.state == State::Degraded, "{report:?}");
        health.check("database", || Err("connection refused".into()));
        health.check("model", || std::panic::resume_unwind(Box::new("oh")));
        let report = health.report();
        assert!(!report.serves(), "{report:?}");
        let json = serde_json::to_string(&report).unwrap();
        let database = r#"{"component":"database","state":"unhealthy","why":"connection refused"}"#;
        assert!(
            json.starts_with(r#"{"state":"unhealthy","components":["#) && json.contains(database),
            "{json}"
        );
        assert!(json.contains(r#"{"component":"disk","state":"healthy"}"#), "{json}");
        assert!(json.contains("it panicked: oh"), "{json}");
        let page = String::from_utf8(metrics.page().unwrap()).unwrap();
        for line in [
            "headroom_kit_health_status{component=\"queue\",state=\"degraded\"} 1\n",
            "headroom_kit_health_status{component=\"queue\",state=\"healthy\"} 0\n",
            "headroom_kit_health_status{component=\"database\",state=\"unhealthy\"} 1\n",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        for gone in ["database", "model", "queue"] {
            health.forget(gone);
        }
        assert_eq!(health.report().state, State::Healthy);
    }

    #[test]
    fn a_check_that_hangs_is_unhealthy_and_is_not_asked_twice() {
        let health = Health::default();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let hold = Mutex::new(hold);
        health.check("hangs", move || {
            let _released = lock(&hold).recv();
            Ok(())
        });
        assert!(health.report().components[0].why.starts_with("no answer within"));
        assert!(health.report().components[0].why.contains("has not come back"));
        drop(release);
        while health.report().state != State::Healthy {
            std::thread::yield_now();
        }
    }
}
