//! The collector of /proc/cgroups: how many control groups each controller has (`node_cgroups_*`).

use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::cgroup::subsystem::subsystems;
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cgroups",
    on: false,
    make: |host, _| Ok(Box::new(Cgroups { file: host.proc_file("cgroups") })),
};

/// node_exporter's help of the second is that of the first.
const FAMILIES: [Desc<'static>; 2] = [
    Desc::gauge("node_cgroups_cgroups", "Current cgroup number of the subsystem.", &["subsys_name"]),
    Desc::gauge("node_cgroups_enabled", "Current cgroup number of the subsystem.", &["subsys_name"]),
];

struct Cgroups {
    file: Kept,
}

impl Collector for Cgroups {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let rows = self.file.parse(|text| {
            let row = |s: &crate::host::cgroup::subsystem::Subsystem<'_>| Row {
                labels: vec![s.name.to_owned()],
                values: vec![Some(Value::U64(s.groups)), Some(Value::U64(s.enabled))],
            };
            Ok(subsystems(text)?.iter().map(row).collect::<Vec<_>>())
        })?;
        write(&FAMILIES, &rows.ok_or_else(|| CollectError::Absent("cgroups".into()))?, out);
        Ok(())
    }
}
