//! The counters of pressure and of the proactive mode.

use super::phases::PHASES;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

/// What a proactive step can come to.
pub const STEPS: [&str; 3] = ["reclaimed", "backed_off", "held"];

/// All of them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(in crate::optimize) stalls: IntCounterVec,
    pub(in crate::optimize) fast: IntGauge,
    pub(in crate::optimize) unreadable: IntGauge,
    pub(in crate::optimize) locked: IntGauge,
    pub(in crate::optimize) rehearsed: IntGauge,
    pub(in crate::optimize) reaction: Histogram,
    pub(in crate::optimize) phases: CounterVec,
    pub(in crate::optimize) working_set: GaugeVec,
    pub(in crate::optimize) steps: IntCounterVec,
    pub(in crate::optimize) reclaimed: IntCounterVec,
    /// Handles, so that a poll looks nothing up.
    pub(in crate::optimize) polls_slow: IntCounter,
    pub(in crate::optimize) polls_fast: IntCounter,
}

impl Metrics {
    /// Makes them and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let vec = IntCounterVec::new(Opts::new(format!("headroom_optimizer_{name}"), help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(format!("headroom_optimizer_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let opts = HistogramOpts::new(
            "headroom_optimizer_reaction_seconds",
            "Time from the beginning of a stall, as far as the kernel's totals tell, to the first action.",
        );
        let buckets = vec![0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0];
        let reaction = Histogram::with_opts(opts.buckets(buckets))?;
        registry.register(Box::new(reaction.clone()))?;
        let opts = Opts::new(
            "headroom_optimizer_reaction_phase_seconds_total",
            "Where the time of reactions went: parts of headroom_optimizer_reaction_seconds_sum.",
        );
        let phases = CounterVec::new(opts, &["phase"])?;
        registry.register(Box::new(phases.clone()))?;
        for (_, phase) in PHASES {
            phases.with_label_values(&[phase]);
        }
        let opts = Opts::new(
            "headroom_optimizer_working_set_bytes",
            "What the target needs, found out by taking memory gently until it was missed; absent until then.",
        );
        let working_set = GaugeVec::new(opts, &["target"])?;
        registry.register(Box::new(working_set.clone()))?;
        let polls =
            counter("pressure_polls_total", "Looks at the kernel's stall totals, by pace.", &["pace"])?;
        let [polls_slow, polls_fast] = ["slow", "fast"].map(|pace| polls.with_label_values(&[pace]));
        Ok(Self {
            stalls: counter("pressure_stalls_total", "Episodes of stalls that a rule saw.", &["rule"])?,
            fast: gauge("pressure_fast", "Whether it is polled fast, because trouble is near.")?,
            unreadable: gauge("pressure_unreadable", "Rules whose stall total cannot be read now.")?,
            rehearsed: gauge(
                "rungs_rehearsed",
                "Rungs of pressure's ladders that were gone through at the start, up to their action.",
            )?,
            locked: gauge("memory_locked", "Whether the optimizer's own memory is locked.")?,
            reaction,
            phases,
            working_set,
            steps: counter(
                "proactive_steps_total",
                "Proactive steps by what came of them.",
                &["target", "result"],
            )?,
            reclaimed: counter(
                "proactive_reclaimed_bytes_total",
                "Bytes by which groups shrank in proactive steps; they are not counted as freed.",
                &["target"],
            )?,
            polls_slow,
            polls_fast,
        })
    }

    /// Gives the rule's counter its zero.
    pub fn zero_rule(&self, rule: &str) {
        self.stalls.with_label_values(&[rule]);
    }

    /// Gives the target's counters their zero.
    pub fn zero_proactive(&self, target: &str) {
        self.reclaimed.with_label_values(&[target]);
        for result in STEPS {
            self.steps.with_label_values(&[target, result]);
        }
    }

    /// The working set of a target, or that it is not known any more.
    pub fn working_set(&self, target: &str, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            let gauge: Gauge = self.working_set.with_label_values(&[target]);
            gauge.set(bytes as f64);
        } else {
            // It may never have been there.
            let _absent = self.working_set.remove_label_values(&[target]);
        }
    }
}
