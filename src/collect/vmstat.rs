//! The collector of /proc/vmstat: page faults, paging, swapping and OOM kills as `node_vmstat_NAME`.

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, parse};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "vmstat",
    on: true,
    make: |host, _| {
        Ok(Box::new(Vmstat { file: host.proc_file("vmstat"), families: Vec::new(), values: Vec::new() }))
    },
};

struct Vmstat {
    file: Kept,
    /// Name and help of each field, made once: the kernel's list does not change while it runs.
    families: Vec<Family>,
    values: Vec<u64>,
}

struct Family {
    field: String,
    name: String,
    help: String,
}

impl Collector for Vmstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, families, values } = self;
        file.parse_lines(|text| {
            values.clear();
            parse::pair_lines(text).try_for_each(|pair| {
                let (field, value) = pair?;
                if wanted(field) {
                    if families.get(values.len()).is_none_or(|f| f.field != field) {
                        families.truncate(values.len());
                        families.push(Family::new(field));
                    }
                    values.push(value);
                }
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("vmstat".into()))?;
        for (family, value) in families.iter().zip(values) {
            out.family(&Desc::untyped(&family.name, &family.help, &[]));
            out.sample(&[], Value::U64(*value));
        }
        Ok(())
    }
}

/// node_exporter's choice, `^(oom_kill|pgpg|pswp|pg.*fault).*`: of some 150 fields the few that people look at.
fn wanted(field: &str) -> bool {
    // Most begin with neither of the two letters.
    if !field.starts_with(['o', 'p']) {
        return false;
    }
    ["oom_kill", "pgpg", "pswp"].iter().any(|start| field.starts_with(start))
        || field.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"))
}

impl Family {
    fn new(field: &str) -> Self {
        Self {
            field: field.to_owned(),
            name: format!("node_vmstat_{field}"),
            help: format!("/proc/vmstat information field {field}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn the_fields_are_those_of_the_pattern() {
        for field in ["oom_kill", "pgpgin", "pswpout", "pgfault", "pgmajfault"] {
            assert!(wanted(field), "{field}");
        }
        for field in ["nr_free_pages", "thp_fault_alloc", "pgfree", "numa_pte_updates", "pg"] {
            assert!(!wanted(field), "{field}");
        }
    }
}
