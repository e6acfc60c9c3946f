//! What /proc/cpuinfo adds if it is asked for: models, frequencies, flags and bugs of processors.

use super::Options;
use crate::collect::{OptionError, filter};
use crate::host::cpuinfo::CpuInfo;
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;

const INFO: Desc<'static> = Desc::gauge(
    "node_cpu_info",
    "CPU information from /proc/cpuinfo.",
    &[
        "cachesize",
        "core",
        "cpu",
        "family",
        "microcode",
        "model",
        "model_name",
        "package",
        "stepping",
        "vendor",
    ],
);
const FREQUENCY: Desc<'static> = Desc::gauge(
    "node_cpu_frequency_hertz",
    "CPU frequency in hertz from /proc/cpuinfo.",
    &["core", "cpu", "package"],
);
const FLAG: Desc<'static> = Desc::gauge(
    "node_cpu_flag_info",
    "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
    &["flag"],
);
const BUG: Desc<'static> = Desc::gauge(
    "node_cpu_bug_info",
    "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
    &["bug"],
);

/// What is shown of /proc/cpuinfo.
pub(super) struct Info {
    pub(super) file: Kept,
    pub(super) shown: Shown,
}

/// Which of its parts.
pub(super) struct Shown {
    frequency: bool,
    flags: Option<Regex>,
    bugs: Option<Regex>,
}

impl Info {
    /// `None` if the options do not ask for it. As in node_exporter, `cpufreq` decides about frequencies.
    pub(super) fn new(host: &Host, options: &Options, cpufreq: bool) -> Result<Option<Self>, OptionError> {
        let flags = filter::pattern("cpu.info_flags_include", &options.info_flags_include)?;
        let bugs = filter::pattern("cpu.info_bugs_include", &options.info_bugs_include)?;
        if !options.info && flags.is_none() && bugs.is_none() {
            return Ok(None);
        }
        let shown = Shown { frequency: cpufreq, flags, bugs };
        Ok(Some(Self { file: host.proc_file("cpuinfo"), shown }))
    }
}

impl Shown {
    pub(super) fn write(&self, cpus: &[CpuInfo<'_>], out: &mut dyn Sink) {
        let Some(first) = cpus.first() else { return };
        out.family(&INFO);
        for cpu in cpus {
            let CpuInfo { vendor, family, model, model_name, microcode, stepping, package, core, .. } = *cpu;
            let labels = [
                cpu.cache_size,
                core,
                cpu.number,
                family,
                microcode,
                model,
                model_name,
                package,
                stepping,
                vendor,
            ];
            out.sample(&labels, Value::U64(1));
        }
        if self.frequency && cpus.iter().any(|cpu| cpu.megahertz.is_some()) {
            out.family(&FREQUENCY);
            for cpu in cpus {
                if let Some(megahertz) = cpu.megahertz {
                    out.sample(&[cpu.core, cpu.number, cpu.package], Value::F64(megahertz * 1e6));
                }
            }
        }
        words(&FLAG, self.flags.as_ref(), first.flags, out);
        words(&BUG, self.bugs.as_ref(), first.bugs, out);
    }
}

/// Those of the words that a pattern matches; none without a pattern.
fn words(desc: &Desc<'_>, pattern: Option<&Regex>, text: &str, out: &mut dyn Sink) {
    let matches = |word: &&str| pattern.is_some_and(|pattern| pattern.is_match(word));
    let mut open = false;
    for word in text.split_ascii_whitespace().filter(matches) {
        if !std::mem::replace(&mut open, true) {
            out.family(desc);
        }
        out.sample(&[word], Value::U64(1));
    }
}
