//! The collector of hung tasks: how many the kernel found since it started (`node_kernel_hung_tasks_total`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, system};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "kernel_hung",
    on: true,
    make: |host, _| Ok(Box::new(KernelHung { file: host.proc_file("sys/kernel/hung_task_detect_count") })),
};

const TASKS: Desc<'static> = Desc::counter(
    "node_kernel_hung_tasks_total",
    "Total number of tasks that have been detected as hung since the system booted.",
    &[],
);

struct KernelHung {
    file: Kept,
}

impl Collector for KernelHung {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let absent = || CollectError::Absent("sys/kernel/hung_task_detect_count".into());
        let tasks = self.file.parse_lines(system::whole)?.ok_or_else(absent)?;
        single(out, &TASKS, tasks);
        Ok(())
    }
}
