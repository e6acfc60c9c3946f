//! The collector of /proc/loadavg: `node_load1`, `node_load5` and `node_load15`.

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, system};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "loadavg",
    on: true,
    make: |host, _| Ok(Box::new(Loadavg { file: host.proc_file("loadavg") })),
};

const LOADS: [Desc<'static>; 3] = [
    Desc::gauge("node_load1", "1m load average.", &[]),
    Desc::gauge("node_load5", "5m load average.", &[]),
    Desc::gauge("node_load15", "15m load average.", &[]),
];

struct Loadavg {
    file: Kept,
}

impl Collector for Loadavg {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let loads = self
            .file
            .parse_lines(system::load_averages)?
            .ok_or_else(|| CollectError::Absent("loadavg".into()))?;
        for (desc, load) in LOADS.iter().zip(loads) {
            single(out, desc, load);
        }
        Ok(())
    }
}
