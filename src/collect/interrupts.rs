//! The collector of /proc/interrupts: how often each processor served each interrupt (`node_interrupts_total`).

use super::{CollectError, Collector, Entry, filter};
use crate::host::{Host, Kept, interrupt};
use crate::metric::{Desc, Sink, Value};
use filter::Choice;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "interrupts",
    on: false,
    make: |host, options| {
        let Options { name_include, name_exclude, include_zeros } = &options.interrupts;
        Ok(Box::new(Interrupts {
            file: host.proc_file("interrupts"),
            filter: Choice::new("interrupts.name", name_include, name_exclude)?,
            zeros: *include_zeros,
            cpus: Vec::new(),
        }))
    },
};

/// Which interrupts are shown. What the patterns look at is `name;info;devices`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Interrupts that are shown, as a regular expression; all if empty.
    pub name_include: String,
    /// Interrupts that are left out, as a regular expression; none if empty.
    pub name_exclude: String,
    /// Whether those are shown that never came.
    pub include_zeros: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { name_include: String::new(), name_exclude: String::new(), include_zeros: true }
    }
}

const TOTAL: Desc<'static> =
    Desc::counter("node_interrupts_total", "Interrupt details.", &["cpu", "devices", "info", "type"]);

struct Interrupts {
    file: Kept,
    filter: Choice,
    zeros: bool,
    /// The numbers of processors as text.
    cpus: Vec<String>,
}

impl Collector for Interrupts {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, filter, zeros, cpus } = self;
        let mut all = file
            .parse_lines(interrupt::interrupts)?
            .ok_or_else(|| CollectError::Absent("interrupts".into()))?;
        if !filter.shows_all() {
            all.retain(|one| filter.shows(&format!("{};{};{}", one.name, one.info, one.devices)));
        }
        for number in cpus.len()..all.iter().map(|one| one.counts.len()).max().unwrap_or_default() {
            cpus.push(number.to_string());
        }
        let mut open = false;
        for one in &all {
            for (cpu, count) in cpus.iter().zip(&one.counts).filter(|(_, count)| *zeros || **count > 0) {
                if !std::mem::replace(&mut open, true) {
                    out.family(&TOTAL);
                }
                out.sample(&[cpu, &one.devices, &one.info, one.name], Value::U64(*count));
            }
        }
        Ok(())
    }
}
