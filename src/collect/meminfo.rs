//! The collector of /proc/meminfo: every field as `node_memory_NAME_bytes` (or without a unit for counts).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, memory};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry =
    Entry { name: "meminfo", on: true, make: |host, _| Ok(Box::new(Meminfo::new(host))) };

struct Meminfo {
    file: Kept,
    /// Name and help of each field, made once: the kernel's list does not change while it runs.
    families: Vec<Family>,
}

struct Family {
    field: String,
    name: String,
    help: String,
}

impl Meminfo {
    fn new(host: &Host) -> Self {
        Self { file: host.proc_file("meminfo"), families: Vec::new() }
    }
}

impl Collector for Meminfo {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let fields =
            self.file.parse_lines(memory::meminfo)?.ok_or_else(|| CollectError::Absent("meminfo".into()))?;
        for (i, field) in fields.iter().enumerate() {
            if self.families.get(i).is_none_or(|f| f.field != field.name) {
                self.families.truncate(i);
                self.families.push(Family::new(field));
            }
            let Some(family) = self.families.get(i) else { continue };
            out.family(&Desc::gauge(&family.name, &family.help, &[]));
            out.sample(&[], Value::U64(field.value));
        }
        Ok(())
    }
}

impl Family {
    /// node_exporter's name for a field: parentheses become underscores, amounts end in `_bytes`.
    fn new(field: &memory::MemField<'_>) -> Self {
        let mut stem = field.name.replace('(', "_").replace(')', "");
        if field.bytes {
            stem.push_str("_bytes");
        }
        Self {
            field: field.name.to_owned(),
            name: format!("node_memory_{stem}"),
            help: format!("Memory information field {stem}."),
        }
    }
}
