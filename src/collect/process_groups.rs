//! The collector of processes: what each group of them uses, under process-exporter's names (`namedprocess_*`).

mod counts;
mod families;
mod groups;
mod reading;

use super::{CollectError, Collector, Entry, Made, OptionError};
use crate::host::group::{Grouping, Rule, Users};
use crate::host::proc::{self, Identity};
use crate::host::{Host, HostError};
use crate::metric::Sink;
use counts::Counts;
use families::{Errors, View};
use groups::{Groups, Place};
use reading::Reader;
use serde::Deserialize;
use std::collections::HashMap;
use std::io;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "process_groups", on: true, make: Processes::make };

/// How processes are grouped and what is read of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Which processes belong to which group; the configuration has them in a place of their own,
    /// because the optimizer needs them too.
    #[serde(skip)]
    pub rules: Vec<Rule>,
    /// How many groups there may be; processes of further ones are in none, and those groups are
    /// counted in `headroom_process_groups_cut`.
    pub groups_max: usize,
    /// Whether open files are counted.
    pub open_files: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { rules: Vec::new(), groups_max: 1000, open_files: true }
    }
}

struct Processes {
    grouping: Grouping,
    users: Option<Users>,
    reader: Reader,
    known: HashMap<u32, Known>,
    groups: Groups,
    errors: Errors,
    boot_seconds: Option<u64>,
    /// Counts the passes, so that a process that was not met in one is known to have ended.
    pass: u64,
    /// Whether /etc/passwd was read again in this pass for a user without a name.
    users_reread: bool,
}

/// A process that was met before.
struct Known {
    start_ticks: u64,
    /// The name under which it was put into its group. It changes when the process runs another
    /// program, and then the group may be another one too.
    comm: String,
    place: Place,
    /// Its counters when they were last read; what they grew by since goes to the group.
    counts: Counts,
    pass: u64,
}

impl Processes {
    fn make(host: &Host, options: &super::Options) -> Made {
        let options = &options.process_groups;
        let grouping = Grouping::new(&options.rules)
            .map_err(|e| OptionError { key: "processes.rules".into(), why: e.to_string() })?;
        if options.groups_max == 0 {
            let why = "must be at least 1; to have no groups, disable the collector".to_owned();
            return Err(OptionError { key: "processes.groups_max".into(), why });
        }
        let named = grouping.budgets().map(|(name, _)| name);
        Ok(Box::new(Self {
            groups: Groups::new(named, options.groups_max),
            grouping,
            users: None,
            reader: Reader::new(host, options.open_files),
            known: HashMap::new(),
            errors: Errors::default(),
            boot_seconds: None,
            pass: 0,
            users_reread: false,
        }))
    }

    fn read_all(&mut self, host: &Host) -> Result<(), CollectError> {
        if self.users.is_none() && self.grouping.needs_users() {
            self.users = Some(Users::load(host)?);
        }
        if self.boot_seconds.is_none() {
            self.boot_seconds = proc::boot_seconds(host)?;
        }
        let pids = proc::pids(host)?;
        self.pass += 1;
        self.users_reread = false;
        self.groups.begin();
        for pid in pids {
            self.meet(host, pid);
        }
        let (pass, groups) = (self.pass, &mut self.groups);
        self.known.retain(|_, known| {
            let alive = known.pass == pass;
            if !alive {
                groups.leave(known.place);
            }
            alive
        });
        Ok(())
    }

    /// Reads one process and adds what it has to its group.
    fn meet(&mut self, host: &Host, pid: u32) {
        let mut digits = itoa::Buffer::new();
        let pid_text = digits.format(pid);
        let stat = match self.reader.stat(pid_text) {
            Ok(Some(stat)) => stat,
            Ok(None) => return,
            Err(_) => {
                // It is there, and its counters go on: it must not be taken for a new one later.
                self.errors.process += 1;
                if let Some(known) = self.known.get_mut(&pid) {
                    known.pass = self.pass;
                }
                return;
            }
        };
        let room = self.groups.has_room();
        let settled = self.known.get(&pid).is_some_and(|known| {
            let same = known.start_ticks == stat.start_ticks && known.comm == stat.comm;
            same && !(room && matches!(known.place, Place::Cut(_)))
        });
        if !settled && !self.place(host, pid) {
            return;
        }
        let Some(known) = self.known.get_mut(&pid) else { return };
        known.pass = self.pass;
        let group = match known.place {
            Place::Group(at) => at,
            Place::Cut(name) => return self.groups.count_cut(name),
            Place::None => return,
        };
        match self.reader.rest(pid_text, &stat, &mut self.errors) {
            Ok(Some(reading)) => {
                self.groups.add(group, &reading, &known.counts);
                known.counts.keep(&reading.counts);
            }
            Ok(None) => {}
            Err(_) => self.errors.process += 1,
        }
    }

    /// Finds out who a process is and which group it belongs to; false when it went away meanwhile
    /// or cannot be looked at.
    fn place(&mut self, host: &Host, pid: u32) -> bool {
        let identity = match self.reader.identity(pid) {
            Ok(Some(identity)) => identity,
            Ok(None) => return false,
            Err(_) => {
                self.errors.process += 1;
                return false;
            }
        };
        self.look_up_user(host, &identity);
        let none = Users::default();
        let name = self.grouping.group_of(&identity, self.users.as_ref().unwrap_or(&none));
        let place = name.map_or(Place::None, |name| self.groups.enter(&name));
        let same = self.known.remove(&pid).inspect(|old| self.groups.leave(old.place));
        // Another program in the same process: what it used until now was counted already.
        let same = same.filter(|old| old.start_ticks == identity.start_ticks);
        let counts = same.map(|old| old.counts).unwrap_or_default();
        let Identity { start_ticks, comm, .. } = identity;
        self.known.insert(pid, Known { start_ticks, comm, place, counts, pass: self.pass });
        true
    }

    /// Reads the names of users again, at most once in a pass, when one turns up that has none.
    fn look_up_user(&mut self, host: &Host, identity: &Identity) {
        let unknown = |users: &Users| identity.uid.is_some_and(|uid| !users.knows(uid));
        if self.users_reread || !self.users.as_ref().is_some_and(unknown) {
            return;
        }
        self.users_reread = true;
        match Users::load(host) {
            Ok(users) => self.users = Some(users),
            Err(_) => self.errors.partial += 1,
        }
    }
}

impl Collector for Processes {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        if let Err(e) = self.read_all(host) {
            self.errors.scrape += 1;
            return Err(e);
        }
        View {
            groups: &self.groups,
            grouping: &self.grouping,
            boot_seconds: self.boot_seconds,
            open_files: self.reader.counts_open_files(),
        }
        .write(out);
        self.errors.write(out);
        Ok(())
    }
}

/// Whether the rights do not suffice.
fn refused(e: &HostError) -> bool {
    matches!(e, HostError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}
