//! The collector of /proc/softirqs: soft interrupts by processor and kind (`node_softirqs_functions_total`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, interrupt};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "softirqs",
    on: false,
    make: |host, _| Ok(Box::new(Softirqs { file: host.proc_file("softirqs") })),
};

const TOTAL: Desc<'static> =
    Desc::counter("node_softirqs_functions_total", "Softirq counts per CPU.", &["cpu", "type"]);

struct Softirqs {
    file: Kept,
}

impl Collector for Softirqs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let kinds = self.file.parse_lines(interrupt::softirqs)?;
        let kinds = kinds.ok_or_else(|| CollectError::Absent("softirqs".into()))?;
        if kinds.iter().all(|(_, counts)| counts.is_empty()) {
            return Ok(());
        }
        out.family(&TOTAL);
        for (kind, counts) in &kinds {
            for (cpu, count) in counts.iter().enumerate() {
                out.sample(&[&cpu.to_string(), kind], Value::U64(*count));
            }
        }
        Ok(())
    }
}
