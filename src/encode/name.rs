//! Names that old readers do not know, and what each escaping scheme makes of them.
//!
//! Source: <https://github.com/prometheus/docs/blob/main/docs/instrumenting/escaping_schemes.md>.

use std::borrow::Cow;
use std::fmt::Write;

/// How names beyond letters, digits, underscores and colons are written for a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Other characters become underscores.
    #[default]
    Underscores,
    /// Dots become `_dot_`, underscores two, other characters two underscores.
    Dots,
    /// `U__` in front, underscores become two, other characters their number between underscores.
    Values,
    /// As they are, in quotes where the format has them.
    AllowUtf8,
}

/// Where a name stands: colons are for families only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Family,
    Label,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Underscores, Self::Dots, Self::Values, Self::AllowUtf8];

    /// The scheme's name in the headers `Accept` and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
            Self::AllowUtf8 => "allow-utf-8",
        }
    }

    /// The scheme of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name)
    }

    /// The name as readers get it. A name that every reader knows stays as it is in every scheme.
    pub(super) fn escape(self, name: &str, of: Of) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || is_legacy(name, of) {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 16);
        if self == Self::Values {
            out.push_str("U__");
        }
        for (at, letter) in name.char_indices() {
            let good = is_legacy_letter(letter, at, of);
            match (self, letter) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                _ if good => out.push(letter),
                (Self::Dots, _) => out.push_str("__"),
                // Writing to a String cannot fail.
                (Self::Values, _) => _ = write!(out, "_{:x}_", u32::from(letter)),
                _ => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

/// Whether every reader knows a name of this form.
pub(super) fn is_legacy(name: &str, of: Of) -> bool {
    // Byte by byte and by one table, since each family of each pass is asked for: what is not ASCII is not good.
    let want = match of {
        Of::Family => IN_FAMILY,
        Of::Label => IN_LABEL,
    };
    let good = |b: u8| LETTERS.get(usize::from(b)).is_some_and(|letter| letter & want != 0);
    name.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && name.bytes().all(good)
}

const IN_FAMILY: u8 = 1;
const IN_LABEL: u8 = 2;
/// Where each byte may stand, but for digits at the beginning.
const LETTERS: [u8; 256] = {
    let mut table = [0; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0_u8;
    while let [first, others @ ..] = rest {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            *first = IN_FAMILY | IN_LABEL;
        } else if byte == b':' {
            *first = IN_FAMILY;
        }
        byte = byte.wrapping_add(1);
        rest = others;
    }
    table
};

fn is_legacy_letter(letter: char, at: usize, of: Of) -> bool {
    letter.is_ascii_alphabetic()
        || letter == '_'
        || (letter == ':' && of == Of::Family)
        || (letter.is_ascii_digit() && at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_the_scheme_says() {
        for (name, underscores, dots, values) in [
            ("node_cpu:x", "node_cpu:x", "node_cpu:x", "node_cpu:x"),
            ("no:escaping_required", "no:escaping_required", "no:escaping_required", "no:escaping_required"),
            (
                "mysystem.prod.west.cpu.load",
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
            ),
            (
                "mysystem.prod.west.cpu.load_total",
                "mysystem_prod_west_cpu_load_total",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
            ),
            ("http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
            ("0zero", "_zero", "__zero", "U___30_zero"),
        ] {
            let escape = |scheme: Scheme| scheme.escape(name, Of::Family).into_owned();
            assert_eq!(escape(Scheme::Underscores), underscores);
            assert_eq!(escape(Scheme::Dots), dots);
            assert_eq!(escape(Scheme::Values), values);
            assert_eq!(escape(Scheme::AllowUtf8), name);
        }
        assert_eq!(Scheme::Underscores.escape("a:b", Of::Label), "a_b");
        assert!(!is_legacy("", Of::Label));
    }

    #[test]
    fn schemes_have_names() {
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::parse(scheme.as_str()), Some(scheme));
        }
        assert_eq!(Scheme::parse("utf-8"), None);
    }
}
