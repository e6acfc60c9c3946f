//! What the comments of a page say of its families, and which family a sample belongs to.

use super::Form;
use crate::metric::Kind;
use std::borrow::Cow;
use std::collections::HashMap;

/// The most families of a page, with samples or without.
pub(super) const FAMILIES_MAX: usize = 20_000;
/// What is kept of a help: the store shows no more.
const HELP_BYTES_MAX: usize = 1024;

/// Which of a family's numbers a sample holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Own,
    Sum,
    Count,
    Bucket,
    Quantile,
}

/// The family of a sample, and the sample's part in it.
#[derive(Debug)]
pub(super) struct Owner<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) help: &'t str,
    pub(super) kind: Kind,
    pub(super) part: Part,
}

#[derive(Debug, Default)]
struct Type {
    kind: Option<Kind>,
    help: String,
}

/// The families that were named so far.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<String, Type>);

impl Types {
    pub(super) fn help(&mut self, name: &str, help: &str) {
        let help = help.get(..help.floor_char_boundary(HELP_BYTES_MAX)).unwrap_or(help);
        help.clone_into(&mut self.0.entry(name.to_owned()).or_default().help);
    }

    /// Whether there are more than a page may have.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > FAMILIES_MAX
    }

    pub(super) fn kind(&mut self, name: &str, kind: Kind) {
        self.0.entry(name.to_owned()).or_default().kind = Some(kind);
    }

    /// Takes a comment that only OpenMetrics has; false if the line is something else.
    pub(super) fn comment(&mut self, line: &str, form: Form) -> bool {
        let Some(rest) = line.strip_prefix("# TYPE ").filter(|_| form == Form::OpenMetrics) else {
            return false;
        };
        let Some((name, kind)) = rest.rsplit_once(' ') else { return false };
        let kind = match kind {
            "unknown" | "gaugehistogram" => Kind::Untyped,
            "info" | "stateset" => Kind::Gauge,
            _ => return false,
        };
        self.kind(name.trim_matches('"'), kind);
        true
    }

    /// The family of a sample; `None` for one that says when a count began, which is not shown.
    pub(super) fn owner<'t>(&'t self, name: &'t str, form: Form) -> Option<Owner<'t>> {
        let open = form == Form::OpenMetrics;
        let of = |family: &'t str, part| {
            let known = self.0.get(family)?;
            Some(Owner { name: Cow::Borrowed(family), help: &known.help, kind: known.kind?, part })
        };
        let base = |suffix: &str| name.strip_suffix(suffix);
        for (suffix, part) in [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Bucket)] {
            let owner = base(suffix).and_then(|family| of(family, part));
            let fits = |owner: &Owner<'_>| {
                owner.kind == Kind::Histogram || (owner.kind == Kind::Summary && part != Part::Bucket)
            };
            if let Some(owner) = owner.filter(fits) {
                return Some(owner);
            }
        }
        if open {
            let began = base("_created").and_then(|family| of(family, Part::Own));
            if began.is_some_and(|o| matches!(o.kind, Kind::Counter | Kind::Histogram | Kind::Summary)) {
                return None;
            }
            // The family of a counter is named without what its samples end with; here it is named with it.
            let total = base("_total").and_then(|family| of(family, Part::Own));
            if let Some(owner) = total.filter(|owner| owner.kind == Kind::Counter) {
                return Some(Owner { name: Cow::Borrowed(name), ..owner });
            }
            let info = base("_info").and_then(|family| of(family, Part::Own));
            if let Some(owner) = info.filter(|owner| owner.kind == Kind::Gauge) {
                return Some(Owner { name: Cow::Borrowed(name), ..owner });
            }
        }
        let plain = Owner { name: Cow::Borrowed(name), help: "", kind: Kind::Untyped, part: Part::Own };
        match of(name, Part::Own) {
            Some(owner) if owner.kind == Kind::Summary => Some(Owner { part: Part::Quantile, ..owner }),
            // A number under the name of a histogram is none of it.
            Some(owner) if owner.kind == Kind::Histogram => Some(plain),
            Some(owner) => Some(owner),
            None => Some(Owner { help: self.0.get(name).map_or("", |known| &known.help), ..plain }),
        }
    }
}

impl<'t> Owner<'t> {
    /// The family of the sample under another name: the same part of a family that has the name's beginning, or a number
    /// of which nothing is known.
    pub(super) fn renamed<'n>(self, name: &'n str) -> Owner<'n>
    where
        't: 'n,
    {
        let suffix = match self.part {
            Part::Own | Part::Quantile => "",
            Part::Sum => "_sum",
            Part::Count => "_count",
            Part::Bucket => "_bucket",
        };
        match name.strip_suffix(suffix).filter(|base| !base.is_empty()) {
            Some(base) => Owner { name: Cow::Borrowed(base), ..self },
            None => {
                Owner { name: Cow::Borrowed(name), help: self.help, kind: Kind::Untyped, part: Part::Own }
            }
        }
    }
}
