//! The collector of processors: how busy each is. sysinfo does not tell their seconds, so `node_cpu_seconds_total` is absent.

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::time::Instant;
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};

/// This collector's line in the list.
pub(super) const ENTRY: Entry =
    Entry { name: "cpu", on: true, make: |_, _| Ok(Box::new(Cpu { since: None })) };

const USAGE: Desc<'static> = Desc::gauge(
    "headroom_cpu_usage_ratio",
    "The share of its time that the processor was busy since the scrape before this one.",
    &["cpu"],
);

struct Cpu {
    /// What it was when it was first looked at, and when; a share needs two looks.
    since: Option<(System, Instant)>,
}

impl Collector for Cpu {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Some((system, first)) = &mut self.since else {
            let mut system = System::new().map_err(failed)?;
            system.refresh_cpu_usage();
            self.since = Some((system, Instant::now()));
            return Ok(());
        };
        // Until then sysinfo does not look again, and says what it found first, which is nothing.
        if first.elapsed() < MINIMUM_CPU_UPDATE_INTERVAL {
            return Ok(());
        }
        system.refresh_cpu_usage();
        write(system.cpus().iter().map(sysinfo::Cpu::usage), out);
        Ok(())
    }
}

/// Writes shares that are given in hundredths, in the order of the processors.
fn write(percent: impl Iterator<Item = f32>, out: &mut dyn Sink) {
    let mut digits = itoa::Buffer::new();
    out.family(&USAGE);
    for (at, percent) in percent.enumerate() {
        if percent.is_finite() {
            out.sample(&[digits.format(at)], Value::F64(f64::from(percent) / 100.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::value;
    use super::*;
    use crate::encode::text::TextEncoder;

    #[test]
    fn a_share_needs_two_looks_and_is_of_each_processor() {
        let host = Host::default();
        let mut cpu = Cpu { since: None };
        let mut page = || {
            let mut out = TextEncoder::default();
            cpu.collect(&host, &mut out).unwrap();
            String::from_utf8(out.page().to_vec()).unwrap()
        };
        assert_eq!(page(), "");
        std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
        let busy = page();
        let count = std::fs::read_to_string("/proc/cpuinfo").unwrap().matches("processor\t").count();
        assert_eq!(busy.matches("headroom_cpu_usage_ratio{").count(), count);
        let first = value(&busy, "headroom_cpu_usage_ratio{cpu=\"0\"}");
        assert!((0.0..=1.0).contains(&first), "{busy}");
    }

    #[test]
    fn hundredths_are_shares_and_what_is_no_number_is_absent() {
        let mut out = TextEncoder::default();
        write([12.5, f32::NAN, 100.0].into_iter(), &mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        assert!(page.ends_with("{cpu=\"0\"} 0.125\nheadroom_cpu_usage_ratio{cpu=\"2\"} 1\n"), "{page}");
    }
}
