//! The name of a group as a template, in the part of Go's language that process-exporter's users write.

use super::users::Users;
use crate::host::proc::Identity;
use std::borrow::Cow;
use std::fmt::Write;

/// What a name may ask for.
const KNOWN: &str =
    ".Comm, .ExeBase, .ExeFull, .Username, .PID, .StartTime, .Cgroups, index .Cgroups N, .Matches.NAME";

/// A group's name: text, and places that each process fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Comm,
    ExeBase,
    ExeFull,
    Username,
    Pid,
    /// Ticks after boot. process-exporter writes a date, which with the same use tells processes apart as well.
    StartTime,
    Cgroups,
    Cgroup(usize),
    Match(String),
}

impl Template {
    /// Parses a template; `captures` are the named groups of the rule's expressions.
    pub(super) fn new(text: &str, captures: &[&str]) -> Result<Self, String> {
        let mut rest = if text.is_empty() { "{{.ExeBase}}" } else { text };
        let mut pieces = Vec::new();
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, behind) =
                after.split_once("}}").ok_or_else(|| format!("`{{{{{after}` lacks its `}}}}`"))?;
            // `{{- ` and ` -}}` take the blanks away that stand beside them.
            let (before, field) = match field.strip_prefix("- ") {
                Some(field) => (before.trim_end(), field),
                None => (before, field),
            };
            let (field, behind) = match field.strip_suffix(" -") {
                Some(field) => (field, behind.trim_start()),
                None => (field, behind),
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::new(field, captures)?);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The name, if it is the same for all processes.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn asks_user(&self) -> bool {
        self.0.contains(&Piece::Username)
    }

    pub(super) fn asks_cgroups(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Cgroups | Piece::Cgroup(_)))
    }

    /// The name for one process.
    pub(super) fn fill(
        &self,
        identity: &Identity,
        users: &Users,
        matches: &[(String, String)],
    ) -> Cow<'_, str> {
        if let Some(text) = self.literal() {
            return Cow::Borrowed(text);
        }
        // As in process-exporter: the program is what the first argument says.
        let exe = identity.cmdline.first().unwrap_or(&identity.comm);
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Comm => out.push_str(&identity.comm),
                Piece::ExeBase => out.push_str(base(exe)),
                Piece::ExeFull => out.push_str(exe),
                Piece::Username => out.push_str(&users.name(identity.uid).unwrap_or_default()),
                Piece::Pid => _ = write!(out, "{}", identity.pid),
                Piece::StartTime => _ = write!(out, "{}", identity.start_ticks),
                Piece::Cgroups => _ = write!(out, "[{}]", identity.cgroups.join(" ")),
                Piece::Cgroup(at) => out.push_str(identity.cgroups.get(*at).map_or("", String::as_str)),
                // The last expression that has the group wins, as in process-exporter.
                Piece::Match(name) => {
                    out.push_str(matches.iter().rev().find(|(n, _)| n == name).map_or("", |(_, text)| text));
                }
            }
        }
        Cow::Owned(out)
    }
}

impl Piece {
    fn new(field: &str, captures: &[&str]) -> Result<Self, String> {
        let capture = |name: &str| {
            let known = captures.contains(&name).then(|| Self::Match(name.to_owned()));
            known.ok_or_else(|| format!("no expression in `cmdline` has a group named `{name}`"))
        };
        let words: Vec<&str> = field.split_ascii_whitespace().collect();
        match words.as_slice() {
            [".Comm"] => Ok(Self::Comm),
            [".ExeBase"] => Ok(Self::ExeBase),
            [".ExeFull"] => Ok(Self::ExeFull),
            [".Username"] => Ok(Self::Username),
            [".PID"] => Ok(Self::Pid),
            [".StartTime"] => Ok(Self::StartTime),
            [".Cgroups"] => Ok(Self::Cgroups),
            ["index", ".Cgroups", at] if at.parse::<usize>().is_ok() => {
                Ok(Self::Cgroup(at.parse().unwrap_or_default()))
            }
            ["index", ".Matches", name] => capture(name.trim_matches(['"', '`'])),
            [one] if one.starts_with(".Matches.") => capture(one.trim_start_matches(".Matches.")),
            _ => Err(format!("`{{{{{field}}}}}` is unknown; known are {KNOWN}")),
        }
    }
}

/// What follows the last slash, but for one at the end.
pub(super) fn base(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}
