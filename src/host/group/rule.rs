//! One rule of the configuration: what it asks of a process, and whether a process answers.

use super::name::Template;
use super::users::Users;
use crate::host::proc::{Identity, comm_is};
use bytesize::ByteSize;
use regex_lite::Regex;
use serde::Deserialize;
use std::borrow::Cow;

/// What a named group of processes may use if its rule does not say: 500 MB.
pub const MEMORY_BUDGET_DEFAULT: ByteSize = ByteSize::mb(500);

/// Which processes belong to a group, as the user writes it. Every field that is given must match;
/// within a field one entry is enough, but for `cmdline`, of which every expression must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The group's name; may hold `{{.Comm}}`, `{{.ExeBase}}`, `{{.ExeFull}}`, `{{.Username}}`,
    /// `{{.PID}}` and `{{.Matches.NAME}}`, as in process-exporter. Empty: `{{.ExeBase}}`.
    pub name: String,
    /// Names of commands (/proc/PID/comm), exact; of longer ones the kernel keeps 15 bytes, which are compared.
    pub comm: Vec<String>,
    /// Programs: a base name, or with a slash a whole path. Compared with the first argument, as in
    /// process-exporter, and with the path that the kernel knows, which a process cannot rewrite.
    pub exe: Vec<String>,
    /// Regular expressions, each to be found somewhere in the arguments (joined by blanks).
    pub cmdline: Vec<String>,
    /// Paths of control groups: the group itself and all below it.
    pub cgroup: Vec<String>,
    /// Names (or numbers) of the effective user.
    pub user: Vec<String>,
    /// How much memory the group may use; [`MEMORY_BUDGET_DEFAULT`] if absent.
    pub memory_budget: Option<ByteSize>,
    /// Whether the rule stands in a file of process-exporter. Then it means what it means there: `exe` is the first
    /// argument alone, the group has no budget, and it is shown once it has had a process.
    #[serde(skip)]
    pub borrowed: bool,
    /// Whether the name is followed by a colon and what a group of the expressions took, the first one that took
    /// something; processes in which none did are not meant. As process-exporter's `-namemapping`.
    #[serde(skip)]
    pub told_apart: bool,
}

impl Rule {
    /// How much memory the group may use.
    pub fn memory_budget_bytes(&self) -> u64 {
        self.memory_budget.unwrap_or(MEMORY_BUDGET_DEFAULT).as_u64()
    }
}

/// A rule that cannot be used; `index` counts from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No field says which processes are meant.
    #[error("rule {} (`{name}`): matches nothing; give at least one of comm, exe, cmdline, cgroup, user", index + 1)]
    Empty {
        /// Which rule.
        index: usize,
        /// Its group's name.
        name: String,
    },
    /// A regular expression is none.
    #[error("rule {} (`{name}`): the expression `{text}` in `cmdline` is not valid: {why}", index + 1)]
    Expression {
        /// Which rule.
        index: usize,
        /// Its group's name.
        name: String,
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// An expression is to take a part of the arguments, and has no group that could.
    #[error("rule {} (`{name}`): the expression `{text}` has no group in parentheses", index + 1)]
    NoGroup {
        /// Which rule.
        index: usize,
        /// Its group's name.
        name: String,
        /// The expression.
        text: String,
    },
    /// The group's name asks for what there is not.
    #[error("rule {} (`{name}`): {why}", index + 1)]
    Name {
        /// Which rule.
        index: usize,
        /// Its group's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two rules for one group disagree on its budget.
    #[error("rule {} (`{name}`): another rule gives this group another memory_budget", index + 1)]
    Budget {
        /// Which rule.
        index: usize,
        /// Its group's name.
        name: String,
    },
}

/// A rule that was checked.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub(super) name: Template,
    comm: Vec<String>,
    exe: Vec<String>,
    cmdline: Vec<Regex>,
    cgroup: Vec<String>,
    user: Vec<String>,
    pub(super) borrowed: bool,
    told_apart: bool,
}

impl Matcher {
    pub(super) fn new(index: usize, rule: &Rule) -> Result<Self, RuleError> {
        let name = || rule.name.clone();
        let lists = [&rule.comm, &rule.exe, &rule.cmdline, &rule.cgroup, &rule.user];
        if lists.iter().all(|list| list.is_empty()) {
            return Err(RuleError::Empty { index, name: name() });
        }
        let expression = |text: &String| {
            Regex::new(text).map_err(|e| RuleError::Expression {
                index,
                name: name(),
                text: text.clone(),
                why: e.to_string(),
            })
        };
        let cmdline = rule.cmdline.iter().map(expression).collect::<Result<Vec<_>, _>>()?;
        if let Some(without) = cmdline.iter().find(|r| rule.told_apart && r.captures_len() < 2) {
            return Err(RuleError::NoGroup { index, name: name(), text: without.as_str().to_owned() });
        }
        let captures: Vec<&str> = cmdline.iter().flat_map(|r| r.capture_names().flatten()).collect();
        let template = Template::new(&rule.name, &captures).map_err(|why| RuleError::Name {
            index,
            name: name(),
            why,
        })?;
        Ok(Self {
            name: template,
            comm: rule.comm.clone(),
            exe: rule.exe.clone(),
            cmdline,
            cgroup: rule.cgroup.iter().map(|path| path.trim_end_matches('/').to_owned()).collect(),
            user: rule.user.clone(),
            borrowed: rule.borrowed,
            told_apart: rule.told_apart,
        })
    }

    pub(super) fn asks_exe(&self) -> bool {
        !self.exe.is_empty() && !self.borrowed
    }

    pub(super) fn asks_cgroups(&self) -> bool {
        !self.cgroup.is_empty() || self.name.asks_cgroups()
    }

    pub(super) fn asks_user(&self) -> bool {
        !self.user.is_empty() || self.name.asks_user()
    }

    /// The name of the group that the rule puts the process into; `None` if it does not match.
    pub(super) fn name_of(&self, identity: &Identity, users: &Users) -> Option<Cow<'_, str>> {
        let cheap = one_of(&self.comm, |entry| comm_is(entry, &identity.comm))
            && one_of(&self.exe, |entry| runs(identity, entry, !self.borrowed))
            && one_of(&self.cgroup, |entry| identity.cgroups.iter().any(|path| within(path, entry)))
            && one_of(&self.user, |entry| {
                users.name(identity.uid).is_some_and(|name| name == entry.as_str())
            });
        if !cheap {
            return None;
        }
        let mut matches = Vec::new();
        let mut part = None;
        if !self.cmdline.is_empty() {
            let arguments = identity.cmdline.join(" ");
            for expression in &self.cmdline {
                let captures = expression.captures(&arguments)?;
                if self.told_apart && part.is_none() {
                    let taken = captures.iter().skip(1).flatten().find(|taken| !taken.as_str().is_empty());
                    part = taken.map(|taken| taken.as_str().to_owned());
                }
                for name in expression.capture_names().flatten() {
                    let text = captures.name(name).map_or("", |m| m.as_str());
                    matches.push((name.to_owned(), text.to_owned()));
                }
            }
        }
        let name = self.name.fill(identity, users, &matches);
        if self.told_apart { part.map(|part| Cow::Owned(format!("{name}:{part}"))) } else { Some(name) }
    }
}

/// Whether a field that was not given, or one of its entries, agrees.
fn one_of(entries: &[String], agrees: impl FnMut(&String) -> bool) -> bool {
    entries.is_empty() || entries.iter().any(agrees)
}

/// Whether the process runs the program that `entry` names, by base name or by whole path: as its first argument says
/// and, if `real` is asked for, as the kernel knows.
fn runs(identity: &Identity, entry: &str, real: bool) -> bool {
    let mut paths = identity.cmdline.first().into_iter().chain(identity.exe.iter().filter(|_| real));
    if entry.contains('/') {
        return paths.any(|path| path == entry);
    }
    paths.any(|path| super::name::base(path) == entry)
}

/// Whether `path` is the control group `entry` (without a slash at its end) or lies below it.
fn within(path: &str, entry: &str) -> bool {
    path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
