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
pub(crate) enum Of {
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
    pub(crate) fn escape(self, name: &str, of: Of) -> Cow<'_, str> {
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
pub(crate) fn is_legacy(name: &str, of: Of) -> bool {
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
    use proptest::prelude::*;

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
            // The examples of the document.
            (
                "metric.name/with/slashes",
                "metric_name_with_slashes",
                "metric_dot_name__with__slashes",
                "U__metric_2e_name_2f_with_2f_slashes",
            ),
            (
                "metric.name.with.dots",
                "metric_name_with_dots",
                "metric_dot_name_dot_with_dot_dots",
                "U__metric_2e_name_2e_with_2e_dots",
            ),
            ("metric.name", "metric_name", "metric_dot_name", "U__metric_2e_name"),
            ("花火", "__", "____", "U___82b1__706b_"),
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

    /// What Prometheus makes of a name with the scheme `values`.
    fn from_values(escaped: &str) -> Option<String> {
        let Some(mut rest) = escaped.strip_prefix("U__") else { return Some(escaped.to_owned()) };
        let mut out = String::new();
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if letter != '_' {
                out.push(letter);
            } else if let Some(behind) = rest.strip_prefix('_') {
                out.push('_');
                rest = behind;
            } else {
                let (digits, behind) = rest.split_once('_')?;
                out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                rest = behind;
            }
        }
        Some(out)
    }

    /// The same with the scheme `dots`.
    fn from_dots(mut rest: &str) -> Option<String> {
        let mut out = String::new();
        while let Some(letter) = rest.chars().next() {
            let (width, read) = match letter {
                '_' if rest.starts_with("__") => (2, '_'),
                '_' => ("_dot_".len(), rest.starts_with("_dot_").then_some('.')?),
                other => (other.len_utf8(), other),
            };
            out.push(read);
            rest = &rest[width..];
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn escaped_names_are_known_to_every_reader(name in ".+") {
            for of in [Of::Family, Of::Label] {
                for scheme in [Scheme::Underscores, Scheme::Dots, Scheme::Values] {
                    let escaped = scheme.escape(&name, of);
                    prop_assert!(is_legacy(&escaped, of), "{escaped}");
                    prop_assert_eq!(scheme.escape(&escaped, of), &*escaped);
                }
                prop_assert_eq!(Scheme::AllowUtf8.escape(&name, of), &*name);
            }
        }

        #[test]
        fn the_scheme_values_loses_nothing(name in ".+|[a-zA-Z0-9_.:é ]+") {
            // A name that every reader knows stays, even one that looks as if it were escaped.
            prop_assume!(!name.starts_with("U__"));
            for of in [Of::Family, Of::Label] {
                prop_assert_eq!(from_values(&Scheme::Values.escape(&name, of)), Some(name.clone()));
            }
        }

        #[test]
        fn the_scheme_dots_loses_neither_dots_nor_underscores(name in "[a-z][a-z_.]*") {
            prop_assume!(!is_legacy(&name, Of::Family));
            let escaped = Scheme::Dots.escape(&name, Of::Family);
            prop_assert_eq!(from_dots(&escaped), Some(name));
        }
    }

    #[test]
    fn schemes_have_names() {
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::parse(scheme.as_str()), Some(scheme));
        }
        assert_eq!(Scheme::parse("utf-8"), None);
    }
}
