//! One pass over the host: runs every collector, times it, and takes back what a failed one wrote.

use super::cap::Cap;
use super::cost::{self, Meter, Total};
use super::family::Opening;
use super::{CollectError, Collector, OptionError, Options, REGISTRY};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Instant;

const DURATION: Desc<'static> = Desc::gauge(
    "node_scrape_collector_duration_seconds",
    "node_exporter: Duration of a collector scrape.",
    &["collector"],
);
const SUCCESS: Desc<'static> = Desc::gauge(
    "node_scrape_collector_success",
    "node_exporter: Whether a collector succeeded.",
    &["collector"],
);

const CUT: Desc<'static> = Desc::gauge(
    "headroom_collector_series_cut",
    "Series of the collector that are left out because there are more than series_max.",
    &["collector"],
);

/// All enabled collectors. Clones share them: when a pass hangs in a collector, a clone makes the next pass without it.
#[derive(Clone)]
pub struct Scraper {
    host: Arc<Host>,
    slots: Vec<Arc<Slot>>,
    /// Whether pages say what each collector cost.
    tells_cost: bool,
}

struct Slot {
    name: &'static str,
    /// Whether it runs whichever collectors a request picks.
    always: bool,
    series_max: usize,
    /// Locked while the collector runs: whoever finds it so leaves it out.
    work: Mutex<Work>,
    /// Whether it was left out since it last ran to its end, so that the log has one line about it.
    left_out: AtomicBool,
    /// What it cost so far; locked for moments only, so that it can be told while the collector hangs.
    cost: Mutex<Total>,
}

struct Work {
    collector: Box<dyn Collector>,
    /// The last failure, so that the log has a line for each change and not for each scrape.
    failure: Option<String>,
}

/// When a collector ran, for who asks.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The collector.
    pub name: &'static str,
    /// When it began.
    pub begun: Instant,
    /// When it had written all.
    pub ended: Instant,
    /// Whether it had something to say.
    pub success: bool,
}

/// Which collectors a request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// All that are enabled.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

/// A request wants a collector that does not run, in node_exporter's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none of this name.
    #[error("missing collector: {0}")]
    Missing(String),
    /// It is not enabled.
    #[error("disabled collector: {0}")]
    Disabled(String),
}

impl Scraper {
    /// Makes every collector that the options let run.
    pub fn new(host: Host, options: &Options) -> Result<Self, OptionError> {
        let mut slots = Vec::with_capacity(REGISTRY.len());
        let bounds = &options.series_max_by_collector.0;
        if let Some(unknown) = bounds.keys().find(|name| !REGISTRY.iter().any(|entry| entry.name == **name)) {
            let key = "series_max_by_collector".to_owned();
            return Err(OptionError { key, why: format!("there is no collector `{unknown}`") });
        }
        for entry in REGISTRY.iter().filter(|e| options.runs(e)) {
            let mut slot = Slot::new(entry.name, false, (entry.make)(&host, options)?);
            slot.series_max = bounds.get(entry.name).copied().unwrap_or(options.series_max.0);
            slots.push(Arc::new(slot));
        }
        Ok(Self { host: Arc::new(host), slots, tells_cost: true })
    }

    /// Adds a collector that is not in the list: the counters of this process, for example. It writes before the others,
    /// so that none of them (`textfile`) can take a name of its families, and runs unless it is left out by name.
    pub fn add(&mut self, name: &'static str, collector: Box<dyn Collector>) {
        self.slots.insert(0, Arc::new(Slot::new(name, true, collector)));
    }

    /// The same, without what is about itself: what each collector cost is neither measured nor told, and of series that
    /// were left out it is told only where there are any.
    #[must_use]
    pub fn without_own_costs(self) -> Self {
        Self { tells_cost: false, ..self }
    }

    /// Lets every collector write its samples, then says how each fared.
    pub fn scrape(&self, out: &mut dyn Sink) {
        self.scrape_picked(&Pick::All, &AtomicBool::new(false), out);
    }

    /// [`Self::scrape`] with some of the collectors, until `left` says that nobody waits for this pass any more.
    pub fn scrape_picked(&self, pick: &Pick, left: &AtomicBool, out: &mut dyn Sink) {
        self.scrape_timed(pick, left, (out, None));
    }

    /// The same, with the times of each collector for who wants them.
    pub fn scrape_timed(
        &self,
        pick: &Pick,
        left: &AtomicBool,
        (out, mut timings): (&mut dyn Sink, Option<&mut Vec<Timing>>),
    ) {
        let mut fared = Vec::with_capacity(self.slots.len());
        let mut costs = Vec::with_capacity(self.slots.len());
        self.host.begin_pass();
        let mut meter = Meter::start(self.tells_cost);
        for slot in self.slots.iter().filter(|slot| pick.takes(slot)) {
            if left.load(Ordering::Acquire) {
                return;
            }
            let begun = timings.is_some().then(Instant::now);
            let run = slot.run(&self.host, out, &mut meter);
            if let (Some(timings), Some(begun)) = (&mut timings, begun) {
                let (name, ended, success) = (slot.name, Instant::now(), run.success);
                timings.push(Timing { name, begun, ended, success });
            }
            fared.push((slot.name, run));
            if self.tells_cost {
                costs.push((slot.name, *slot.cost.lock().unwrap_or_else(PoisonError::into_inner)));
            }
        }
        out.family(&DURATION);
        for (name, seconds) in fared.iter().filter_map(|(name, fared)| Some((name, fared.seconds?))) {
            out.sample(&[name], Value::F64(seconds));
        }
        out.family(&SUCCESS);
        for (name, fared) in &fared {
            out.sample(&[name], Value::U64(u64::from(fared.success)));
        }
        let cut = fared.iter().filter_map(|(name, fared)| Some((*name, fared.cut?)));
        let mut family = Opening::new(&CUT);
        for (name, cut) in cut.filter(|(_, cut)| self.tells_cost || *cut > 0) {
            family.sample(out, &[name], Value::U64(cut));
        }
        if self.tells_cost {
            cost::write(&costs, out);
        }
    }

    /// Whether there are the collectors that a request picks.
    pub fn check(&self, pick: &Pick) -> Result<(), PickError> {
        let Pick::Only(names) = pick else { return Ok(()) };
        match names.iter().find(|name| !self.slots.iter().any(|slot| slot.name == **name)) {
            None => Ok(()),
            Some(name) if REGISTRY.iter().any(|entry| entry.name == name) => {
                Err(PickError::Disabled(name.clone()))
            }
            Some(name) => Err(PickError::Missing(name.clone())),
        }
    }
}

impl Pick {
    fn takes(&self, slot: &Slot) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == slot.name);
        match self {
            Self::All => true,
            Self::Only(names) => slot.always || has(names),
            Self::Except(names) => !has(names),
        }
    }
}

/// What became of a collector in a pass.
struct Fared {
    success: bool,
    /// `None` if it did not run.
    seconds: Option<f64>,
    /// How many series were left out; `None` if it did not run.
    cut: Option<u64>,
}

impl Slot {
    fn new(name: &'static str, always: bool, collector: Box<dyn Collector>) -> Self {
        let work = Mutex::new(Work { collector, failure: None });
        let (left_out, cost) = (AtomicBool::new(false), Mutex::default());
        // Families of our own have bounds of their own.
        Self { name, always, series_max: usize::MAX, work, left_out, cost }
    }

    fn run(&self, host: &Host, out: &mut dyn Sink, meter: &mut Meter) -> Fared {
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(work)) => work.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if !self.left_out.swap(true, Ordering::Relaxed) {
                    tracing::warn!(collector = self.name, "collector hangs; it is left out until it returns");
                }
                return Fared { success: false, seconds: None, cut: None };
            }
        };
        let mut out = Cap::new(out, self.series_max);
        let mark = out.mark();
        // A defect in one collector must not take the page of all others with it.
        let result = catch_unwind(AssertUnwindSafe(|| work.collector.collect(host, &mut out)))
            .unwrap_or_else(|_| {
                Err(CollectError::Failed("the collector panicked; please report this".into()))
            });
        let run = meter.lap();
        self.cost.lock().unwrap_or_else(PoisonError::into_inner).add(&run);
        let seconds = Some(run.duration.as_secs_f64());
        let failure = result.err().map(|e| {
            out.rewind(mark);
            (matches!(e, CollectError::Absent(_)), e.to_string())
        });
        let was_left_out = self.left_out.swap(false, Ordering::Relaxed);
        match (&failure, &work.failure) {
            (Some((_, now)), Some(before)) if now == before => {}
            (Some((true, now)), _) => {
                tracing::info!(collector = self.name, reason = %now, "collector has nothing to say");
            }
            (Some((false, now)), _) => {
                tracing::warn!(collector = self.name, error = %now, "collector failed");
            }
            (None, Some(_)) => tracing::info!(collector = self.name, "collector works again"),
            (None, None) if was_left_out => tracing::info!(collector = self.name, "collector returned"),
            (None, None) => {}
        }
        work.failure = failure.map(|(_, text)| text);
        Fared { success: work.failure.is_none(), seconds, cut: Some(out.cut()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    struct Flaky(u32);
    impl Collector for Flaky {
        fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
            self.0 += 1;
            crate::metric::single(out, &Desc::gauge("half_written", "H.", &[]), 1_u64);
            match self.0 {
                1 => Err(CollectError::Absent("x".into())),
                2 => panic!("on purpose"),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_collector_that_fails_or_panics_costs_only_its_own_samples() {
        let mut scraper = Scraper { host: Arc::default(), slots: vec![], tells_cost: true };
        scraper.add("flaky", Box::new(Flaky(0)));
        for (written, success) in [(false, 0), (false, 0), (true, 1)] {
            let mut out = TextEncoder::default();
            scraper.scrape(&mut out);
            let page = String::from_utf8(out.page().to_vec()).unwrap();
            assert_eq!(page.contains("half_written"), written);
            assert!(
                page.contains(&format!("node_scrape_collector_success{{collector=\"flaky\"}} {success}\n")),
                "{page}"
            );
        }
    }

    fn page(scraper: &Scraper, pick: &Pick) -> String {
        let mut out = TextEncoder::default();
        scraper.scrape_picked(pick, &AtomicBool::new(false), &mut out);
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    #[test]
    fn a_request_gets_the_collectors_that_it_picks_and_those_that_always_run() {
        let options = Options {
            disable_defaults: true,
            enabled: ["loadavg", "time"].map(String::from).into(),
            ..Options::default()
        };
        let mut scraper = Scraper::new(Host::default(), &options).unwrap();
        scraper.add("flaky", Box::new(Flaky(2)));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        for (pick, wanted) in [
            (Pick::All, &["flaky", "loadavg", "time"][..]),
            (Pick::Only(names(&["time"])), &["flaky", "time"]),
            (Pick::Except(names(&["time", "nonsense"])), &["flaky", "loadavg"]),
            (Pick::Except(names(&["flaky", "time"])), &["loadavg"]),
        ] {
            assert_eq!(scraper.check(&pick), Ok(()));
            let page = page(&scraper, &pick);
            let ran: Vec<&str> = page
                .lines()
                .filter_map(|l| {
                    l.strip_prefix("node_scrape_collector_success{collector=\"")?.strip_suffix("\"} 1")
                })
                .collect();
            assert_eq!(ran, wanted);
            assert_eq!(page.contains("node_load1 "), wanted.contains(&"loadavg"));
        }
        let refused = |name| scraper.check(&Pick::Only(names(&["time", name]))).unwrap_err().to_string();
        assert_eq!(refused("stat"), "disabled collector: stat");
        assert_eq!(refused("nonsense"), "missing collector: nonsense");
    }

    #[test]
    fn a_collector_has_no_more_series_than_it_may_and_the_rest_is_counted() {
        let mut options = Options {
            disable_defaults: true,
            enabled: ["loadavg", "time"].map(String::from).into(),
            ..Options::default()
        };
        options.series_max_by_collector.0.insert("loadavg".into(), 2);
        let scraper = Scraper::new(Host::default(), &options).unwrap();
        let page = page(&scraper, &Pick::All);
        assert!(page.contains("\nnode_load5 ") && !page.contains("node_load15"), "{page}");
        for line in ["{collector=\"loadavg\"} 1\n", "{collector=\"time\"} 0\n"] {
            assert!(page.contains(&format!("headroom_collector_series_cut{line}")), "{page}");
        }
        options.series_max_by_collector.0.insert("lodavg".into(), 2);
        let refused = Scraper::new(Host::default(), &options).err().unwrap();
        assert_eq!(refused.to_string(), "series_max_by_collector: there is no collector `lodavg`");
    }

    #[test]
    fn what_is_about_the_scraper_itself_can_be_left_out_but_for_what_was_cut() {
        let mut options = Options {
            disable_defaults: true,
            enabled: ["loadavg", "time"].map(String::from).into(),
            ..Options::default()
        };
        let page = |options: &Options| {
            page(&Scraper::new(Host::default(), options).unwrap().without_own_costs(), &Pick::All)
        };
        let text = page(&options);
        assert!(!text.contains("headroom_") && text.contains("\nnode_load15 "), "{text}");
        assert!(text.contains("node_scrape_collector_duration_seconds{collector=\"loadavg\"} "), "{text}");
        options.series_max_by_collector.0.insert("loadavg".into(), 2);
        let text = page(&options);
        let own: Vec<&str> = text.lines().filter(|line| line.starts_with("headroom_")).collect();
        assert_eq!(own, ["headroom_collector_series_cut{collector=\"loadavg\"} 1"]);
    }

    #[test]
    fn a_collector_that_still_runs_is_left_out_and_reported() {
        let mut scraper = Scraper { host: Arc::default(), slots: vec![], tells_cost: true };
        scraper.add("flaky", Box::new(Flaky(2)));
        let running = scraper.clone();
        let held = running.slots[0].work.lock().unwrap();
        let text = page(&scraper, &Pick::All);
        assert!(text.contains("node_scrape_collector_success{collector=\"flaky\"} 0\n"), "{text}");
        assert!(!text.contains("duration_seconds{") && !text.contains("half_written"), "{text}");
        drop(held);
        assert!(
            page(&scraper, &Pick::All).contains("node_scrape_collector_success{collector=\"flaky\"} 1\n")
        );
    }

    #[test]
    fn a_pass_that_nobody_waits_for_ends() {
        let mut scraper = Scraper { host: Arc::default(), slots: vec![], tells_cost: true };
        scraper.add("flaky", Box::new(Flaky(2)));
        let mut out = TextEncoder::default();
        scraper.scrape_picked(&Pick::All, &AtomicBool::new(true), &mut out);
        assert_eq!(out.page(), b"");
    }
}
