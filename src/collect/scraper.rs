//! One pass over the host: runs every collector, times it, and takes back what a failed one wrote.

use super::{CollectError, Collector, OptionError, Options, REGISTRY};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// All enabled collectors and what became of each in the last pass.
pub struct Scraper {
    host: Host,
    slots: Vec<Slot>,
}

struct Slot {
    name: &'static str,
    collector: Box<dyn Collector>,
    /// The last failure, so that the log has a line for each change and not for each scrape.
    failure: Option<String>,
    seconds: f64,
}

impl Scraper {
    /// Makes every collector that the options let run.
    pub fn new(host: Host, options: &Options) -> Result<Self, OptionError> {
        let mut slots = Vec::with_capacity(REGISTRY.len());
        for entry in REGISTRY.iter().filter(|e| options.runs(e)) {
            slots.push(Slot::new(entry.name, (entry.make)(&host, options)?));
        }
        Ok(Self { host, slots })
    }

    /// Adds a collector that is not in the list: the counters of this process, for example. It writes before the others,
    /// so that none of them (`textfile`) can take a name of its families.
    pub fn add(&mut self, name: &'static str, collector: Box<dyn Collector>) {
        self.slots.insert(0, Slot::new(name, collector));
    }

    /// Lets every collector write its samples, then says how each fared.
    pub fn scrape(&mut self, out: &mut dyn Sink) {
        for slot in &mut self.slots {
            slot.run(&self.host, out);
        }
        out.family(&DURATION);
        for slot in &self.slots {
            out.sample(&[slot.name], Value::F64(slot.seconds));
        }
        out.family(&SUCCESS);
        for slot in &self.slots {
            out.sample(&[slot.name], Value::U64(u64::from(slot.failure.is_none())));
        }
    }
}

impl Slot {
    fn new(name: &'static str, collector: Box<dyn Collector>) -> Self {
        Self { name, collector, failure: None, seconds: 0.0 }
    }

    fn run(&mut self, host: &Host, out: &mut dyn Sink) {
        let (mark, begun) = (out.mark(), Instant::now());
        // A defect in one collector must not take the page of all others with it.
        let result =
            catch_unwind(AssertUnwindSafe(|| self.collector.collect(host, out))).unwrap_or_else(|_| {
                Err(CollectError::Failed("the collector panicked; please report this".into()))
            });
        self.seconds = begun.elapsed().as_secs_f64();
        let failure = result.err().map(|e| {
            out.rewind(mark);
            (matches!(e, CollectError::Absent(_)), e.to_string())
        });
        match (&failure, &self.failure) {
            (Some((_, now)), Some(before)) if now == before => {}
            (Some((true, now)), _) => {
                tracing::info!(collector = self.name, reason = %now, "collector has nothing to say");
            }
            (Some((false, now)), _) => {
                tracing::warn!(collector = self.name, error = %now, "collector failed");
            }
            (None, Some(_)) => tracing::info!(collector = self.name, "collector works again"),
            (None, None) => {}
        }
        self.failure = failure.map(|(_, text)| text);
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
        let mut scraper = Scraper { host: Host::default(), slots: vec![] };
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
}
