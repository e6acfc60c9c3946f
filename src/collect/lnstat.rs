//! The collector of /proc/net/stat: the kernel's network caches by processor (`node_lnstat_NAME_total`).

use super::table::Found;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, Tree, children, kept, net};
use crate::metric::{Kind, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "lnstat",
    on: false,
    make: |host, _| Ok(Box::new(Lnstat { tree: Tree::new(&host.procfs.join("net/stat")) })),
};

struct Lnstat {
    tree: Tree,
}

impl Collector for Lnstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let files = children(self.tree.path(&[]))?;
        let mut found = Found::new(&["cpu", "subsystem"]);
        for file in files.ok_or_else(|| CollectError::Absent("net/stat".into()))? {
            let Some(text) = self.tree.read(&[&file])? else { continue };
            let columns = match kept::ended(&text).and_then(net::cache_columns) {
                Ok(columns) => columns,
                Err(e) => return Err(HostError::parse(self.tree.path(&[&file]), e).into()),
            };
            for (name, counts) in &columns {
                for (cpu, count) in counts.iter().enumerate() {
                    let family = (format!("node_lnstat_{}_total", super::metric_name(name)), Kind::Counter);
                    let labels = vec![cpu.to_string(), file.clone()];
                    found.add(family, || "linux network cache stats".into(), labels, Value::U64(*count));
                }
            }
        }
        found.write(out);
        Ok(())
    }
}
