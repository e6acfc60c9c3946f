//! The collector of the processors' known vulnerabilities (`node_cpu_vulnerabilities_info`).

use super::{CollectError, Collector, Entry};
use crate::host::vulnerability::vulnerability;
use crate::host::{Host, Tree, children};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cpu_vulnerabilities",
    on: false,
    make: |host, _| {
        Ok(Box::new(Vulnerabilities {
            tree: Tree::new(&host.sysfs.join("devices/system/cpu/vulnerabilities")),
        }))
    },
};

const INFO: Desc<'static> = Desc::gauge(
    "node_cpu_vulnerabilities_info",
    "Details of each CPU vulnerability reported by sysfs. The value of the series is an int encoded state of the \
     vulnerability. The same state is stored as a string in the label",
    &["codename", "mitigation", "state"],
);

struct Vulnerabilities {
    tree: Tree,
}

impl Collector for Vulnerabilities {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let names = children(self.tree.path(&[]))?;
        let mut found = Vec::new();
        for name in names.ok_or_else(|| CollectError::Absent("vulnerabilities".into()))? {
            if let Some(text) = self.tree.read(&[&name])? {
                let (state, mitigation) = vulnerability(&text);
                found.push((name, state, mitigation));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        out.family(&INFO);
        for (name, state, mitigation) in &found {
            out.sample(&[name, mitigation, state], Value::U64(1));
        }
        Ok(())
    }
}
