//! The collector of /proc/vmstat: page faults, paging, swapping and OOM kills as `node_vmstat_NAME`.

use super::family::{Fields, Named};
use super::{CollectError, Collector, Entry, filter};
use crate::host::{Host, Kept, ParseError, parse};
use crate::metric::{Kind, Sink};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "vmstat",
    on: true,
    make: |host, options| {
        let wanted = filter::pattern("vmstat.fields", &options.vmstat.fields)?;
        Ok(Box::new(Vmstat { wanted, file: host.proc_file("vmstat"), fields: Fields::default() }))
    },
};

/// Which fields are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of fields, as a regular expression; all if empty.
    pub fields: String,
}

impl Default for Options {
    fn default() -> Self {
        // Of some 150 fields the few that people look at.
        Self { fields: "^(oom_kill|pgpg|pswp|pg.*fault).*".into() }
    }
}

struct Vmstat {
    wanted: Option<Regex>,
    file: Kept,
    fields: Fields,
}

impl Collector for Vmstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { wanted, file, fields } = self;
        let make = |field: &str| {
            wanted.as_ref().is_none_or(|pattern| pattern.is_match(field)).then(|| {
                let help = format!("/proc/vmstat information field {field}.");
                Named::new(format!("node_vmstat_{field}"), help, Kind::Untyped, &[])
            })
        };
        fields.begin();
        file.parse_lines(|text| {
            parse::lines(text).try_for_each(|(n, line)| {
                let wrong = || ParseError::new(n, "a name and a whole number");
                let (field, value) = parse::split_at_byte(line, b' ').ok_or_else(wrong)?;
                // Most fields are not wanted, and their numbers not looked at.
                let number = || value.trim_ascii().parse::<u64>().map(i128::from).map_err(|_| wrong());
                fields.take(("", field), number, || make(field))
            })
        })?
        .ok_or_else(|| CollectError::Absent("vmstat".into()))?;
        fields.write(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_that_people_look_at_unless_others_are_asked_for() {
        let pattern = Regex::new(&Options::default().fields).unwrap();
        for field in ["oom_kill", "pgpgin", "pswpout", "pgfault", "pgmajfault"] {
            assert!(pattern.is_match(field), "{field}");
        }
        for field in ["nr_free_pages", "thp_fault_alloc", "pgfree", "numa_pte_updates", "pg"] {
            assert!(!pattern.is_match(field), "{field}");
        }
        let file = tempfile::tempdir().unwrap();
        std::fs::write(file.path().join("vmstat"), "nr_free_pages 7\npgfault 8\n").unwrap();
        let host = Host { procfs: file.path().to_owned(), ..Host::default() };
        let page = |fields: &str| {
            let options =
                super::super::Options { vmstat: Options { fields: fields.into() }, ..Default::default() };
            let mut out = crate::encode::text::TextEncoder::default();
            (ENTRY.make)(&host, &options).unwrap().collect(&host, &mut out).unwrap();
            String::from_utf8(out.page().to_vec()).unwrap()
        };
        assert!(page("^nr_").ends_with("node_vmstat_nr_free_pages 7\n"));
        assert_eq!(page("").lines().filter(|line| !line.starts_with('#')).count(), 2);
    }
}
