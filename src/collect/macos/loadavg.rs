//! The collector of load averages (`node_load1`, `node_load5`, `node_load15`).

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, single};
use sysinfo::{LoadAvg, System};

/// This collector's line in the list.
pub(super) const ENTRY: Entry = Entry { name: "loadavg", on: true, make: |_, _| Ok(Box::new(Load)) };

struct Load;

impl Collector for Load {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let LoadAvg { one, five, fifteen } = System::load_average().map_err(failed)?;
        single(out, &Desc::gauge("node_load1", "1m load average.", &[]), one);
        single(out, &Desc::gauge("node_load5", "5m load average.", &[]), five);
        single(out, &Desc::gauge("node_load15", "15m load average.", &[]), fifteen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{linux, page, value};
    use super::*;

    #[test]
    fn averages_are_those_of_the_kernel() {
        let (ours, kernels) = (page(&ENTRY), linux("loadavg"));
        for name in ["node_load1", "node_load5", "node_load15"] {
            // The kernel works them out anew every five seconds.
            let (a, b) = (value(&ours, name), value(&kernels, name));
            assert!((a - b).abs() <= 1.0 + 0.1 * b, "{name}: {a}, the kernel says {b}");
        }
    }
}
