//! Options of the collector of processes: those of process-exporter under its flags' names, and ours.

use crate::collect::OptionError;
use crate::host::group::Rule;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How processes are grouped and what is read of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "keys that are on or off, most of them process-exporter's flags"
)]
pub struct Options {
    /// Which processes belong to which group; the configuration has them in a place of their own,
    /// because the optimizer needs them too.
    #[serde(skip)]
    pub rules: Vec<Rule>,
    /// A configuration file of process-exporter, whose rules stand behind the others.
    pub config_file: Option<PathBuf>,
    /// Names of commands that are a group each, as `-procnames` has them.
    pub procnames: Vec<String>,
    /// Names of commands, each followed by an expression whose first group tells its processes apart.
    pub namemapping: Vec<String>,
    /// How many groups there may be; processes of further ones are in none, and those groups are
    /// counted in `headroom_process_groups_cut`.
    pub groups_max: usize,
    /// Whether open files are counted.
    pub open_files: bool,
    /// Whether a process that no rule takes belongs to the group of its nearest ancestor that is in one. Absent: only
    /// with a choice of process-exporter's (file or names), whose default this is; the optimizer knows the groups of rules alone.
    pub children: Option<bool>,
    /// Whether threads are told apart by name.
    pub threads: bool,
    /// How many names of threads there may be, over all groups.
    pub thread_names_max: usize,
    /// Whether a process in no group is looked at again in each pass, and not only when it runs another program.
    pub recheck: bool,
    /// How long after its start a process is looked at again; says `recheck` too.
    #[serde(with = "humantime_serde")]
    pub recheck_with_time_limit: Option<Duration>,
    /// Whether a group without processes is forgotten.
    pub remove_empty_groups: bool,
    /// Whether memory is read in proportion to who shares it.
    pub gather_smaps: bool,
    /// The share of one processor's time that `gather_smaps` may take.
    pub smaps_cpu_ratio: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            config_file: None,
            procnames: Vec::new(),
            namemapping: Vec::new(),
            groups_max: 1000,
            open_files: true,
            children: None,
            threads: true,
            thread_names_max: 1000,
            recheck: false,
            recheck_with_time_limit: None,
            remove_empty_groups: false,
            gather_smaps: true,
            smaps_cpu_ratio: 0.005,
        }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), OptionError> {
        let error = |key: &str, why: &str| Err(OptionError { key: key.into(), why: why.into() });
        if self.groups_max == 0 {
            let why = "must be at least 1; to have no groups, disable the collector";
            return error("process_groups.groups_max", why);
        }
        if !(self.smaps_cpu_ratio > 0.0 && self.smaps_cpu_ratio <= 1.0) {
            let why = "a share from 0 to 1, such as 0.005; to read none, set gather_smaps to false";
            return error("process_groups.smaps_cpu_ratio", why);
        }
        Ok(())
    }

    pub(super) fn children(&self) -> bool {
        let theirs = self.config_file.is_some() || !self.procnames.is_empty() || !self.namemapping.is_empty();
        self.children.unwrap_or(theirs)
    }
}
