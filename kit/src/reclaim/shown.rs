//! The registry's numbers, under the names that the package for Python has, too.

use super::{Ending, Inner, PartOutcome};
use crate::memory::signed;
use crate::metrics::{Metrics, PART};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, Weak};

const HELD: &str = "headroom_kit_held_bytes";
const HELD_HELP: &str = "Memory that a part says it holds.";

/// Sets of labels of all times; those of parts that come later are counted as `other`.
const NAMES_MAX: usize = 1000;

/// Counts of a part; parts of the same name and kind share them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// What it said that it released.
    pub released_bytes: u64,
    /// How often it came back well.
    pub ok: u64,
}

/// Families of one registry.
pub(super) struct Shown {
    pub(super) requests: IntCounterVec,
    released: IntCounterVec,
    reclaims: IntCounterVec,
    seconds: CounterVec,
    names: Mutex<HashSet<(String, String)>>,
}

impl Shown {
    pub(super) fn new(metrics: &Metrics, inner: Weak<Inner>) -> Self {
        let parts = Parts::new(inner).and_then(|parts| metrics.registry().register(Box::new(parts)));
        if let Err(error) = parts {
            tracing::error!(%error, "what parts hold is not shown");
        }
        Self {
            requests: metrics.own_counters(
                "headroom_kit_requests_total",
                "Requests for memory, by who asked.",
                &["origin"],
            ),
            released: metrics.own_counters(
                "headroom_kit_released_bytes_total",
                "Memory that a part says it gave back.",
                &PART,
            ),
            reclaims: metrics.own_counters(
                "headroom_kit_reclaims_total",
                "How often a part was asked, by what came of it.",
                &["part", "kind", "outcome"],
            ),
            seconds: metrics.own_time(
                "headroom_kit_reclaim_seconds_total",
                "Time spent on asking a part.",
                &PART,
            ),
            names: Mutex::default(),
        }
    }

    pub(super) fn note(&self, outcome: &PartOutcome) {
        let (mut name, mut kind) = (outcome.name.as_str(), outcome.kind.as_str());
        {
            let mut names = super::lock(&self.names);
            let key = (outcome.name.clone(), outcome.kind.clone());
            if names.len() >= NAMES_MAX && !names.contains(&key) {
                (name, kind) = ("other", "other");
            } else {
                names.insert(key);
            }
        }
        self.released.with_label_values(&[name, kind]).inc_by(outcome.released_bytes);
        self.seconds.with_label_values(&[name, kind]).inc_by(outcome.took.as_secs_f64());
        self.reclaims.with_label_values(&[name, kind, outcome.outcome.as_str()]).inc();
    }

    pub(super) fn totals(&self, name: &str, kind: &str) -> Totals {
        Totals {
            released_bytes: self.released.with_label_values(&[name, kind]).get(),
            ok: self.reclaims.with_label_values(&[name, kind, Ending::Ok.as_str()]).get(),
        }
    }
}

/// What parts hold and say of themselves, asked when the page is made. Whoever does not say is absent.
struct Parts {
    inner: Weak<Inner>,
    held: IntGaugeVec,
}

impl Parts {
    fn new(inner: Weak<Inner>) -> Result<Self, prometheus::Error> {
        let held = Opts::new(HELD, HELD_HELP);
        Ok(Self { inner, held: IntGaugeVec::new(held, &PART)? })
    }
}

impl Collector for Parts {
    fn desc(&self) -> Vec<&Desc> {
        self.held.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(inner) = self.inner.upgrade() else { return Vec::new() };
        // Fresh ones: two pages may be made at the same time.
        let opts = Opts::new(HELD, HELD_HELP);
        let Ok(held) = IntGaugeVec::new(opts, &PART) else { return Vec::new() };
        let mut others: BTreeMap<&str, IntGaugeVec> = BTreeMap::new();
        for part in inner.state() {
            let labels = [part.name.as_str(), part.kind.as_str()];
            if let Some(bytes) = part.held_bytes {
                held.with_label_values(&labels).add(signed(bytes));
            }
            for sample in part.samples {
                let opts = Opts::new(format!("headroom_kit_{}", sample.name), sample.help);
                // A name that is none costs that part its sample.
                let Ok(fresh) = IntGaugeVec::new(opts, &PART) else { continue };
                let family = others.entry(sample.name).or_insert(fresh);
                family.with_label_values(&labels).add(signed(sample.value));
            }
        }
        held.collect().into_iter().chain(others.values().flat_map(Collector::collect)).collect()
    }
}
