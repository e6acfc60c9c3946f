//! The name of a group as a template, in the part of Go's language that process-exporter's users write.

use super::users::Users;
use crate::host::proc::Identity;
use std::borrow::Cow;
use std::fmt::Write;

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
    Match(String),
}

impl Template {
    /// Parses a template; `captures` are the named groups of the rule's expressions.
    pub(super) fn new(text: &str, captures: &[&str]) -> Result<Self, String> {
        let mut rest = if text.is_empty() { "{{.ExeBase}}" } else { text };
        let mut pieces = Vec::new();
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (field, behind) =
                after.split_once("}}").ok_or_else(|| format!("`{{{{{after}` lacks its `}}}}`"))?;
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

    pub(super) fn needs_users(&self) -> bool {
        self.0.contains(&Piece::Username)
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
        match field.trim() {
            ".Comm" => Ok(Self::Comm),
            ".ExeBase" => Ok(Self::ExeBase),
            ".ExeFull" => Ok(Self::ExeFull),
            ".Username" => Ok(Self::Username),
            ".PID" => Ok(Self::Pid),
            other => match other.strip_prefix(".Matches.") {
                Some(name) if captures.contains(&name) => Ok(Self::Match(name.to_owned())),
                Some(name) => Err(format!("no expression in `cmdline` has a group named `{name}`")),
                None => Err(format!(
                    "`{{{{{field}}}}}` is unknown; known are .Comm, .ExeBase, .ExeFull, .Username, .PID, .Matches.NAME"
                )),
            },
        }
    }
}

/// What follows the last slash.
pub(super) fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}
