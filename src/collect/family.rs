//! Families that are opened by their first sample, and families that are named after what the kernel says.

use crate::host::ParseError;
use crate::metric::{Desc, Kind, Sink, Value};
use std::borrow::Cow;

/// A whole number of the kernel as a value; below zero, or beyond 64 bits, a float.
pub(super) fn whole(number: i128) -> Value<'static> {
    u64::try_from(number).map_or(Value::F64(number as f64), Value::U64)
}

/// A family that is opened by its first sample: one that no device has a value for is not shown.
pub(super) struct Opening<'a> {
    desc: &'a Desc<'a>,
    open: bool,
}

impl<'a> Opening<'a> {
    pub(super) fn new(desc: &'a Desc<'a>) -> Self {
        Self { desc, open: false }
    }

    pub(super) fn sample(&mut self, out: &mut dyn Sink, label_values: &[&str], value: Value<'_>) {
        if !std::mem::replace(&mut self.open, true) {
            out.family(self.desc);
        }
        out.sample(label_values, value);
    }
}

/// Writes a family with one label: a sample for each name that has a value.
pub(super) fn by_name<'v>(
    out: &mut dyn Sink,
    desc: &Desc<'_>,
    samples: impl Iterator<Item = (&'v str, Option<Value<'v>>)>,
) {
    let mut family = Opening::new(desc);
    for (name, value) in samples {
        if let Some(value) = value {
            family.sample(out, &[name], value);
        }
    }
}

/// A description that is kept; some are made from what the kernel says.
pub(super) struct Named {
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) sparse: bool,
}

impl Named {
    pub(super) fn new(name: String, help: String, kind: Kind, labels: &'static [&'static str]) -> Self {
        Self { name: name.into(), help: help.into(), kind, labels, sparse: false }
    }

    pub(super) fn desc(&self) -> Desc<'_> {
        let Self { name, help, kind, labels, sparse } = self;
        Desc { name, help, kind: *kind, labels, sparse: *sparse }
    }
}

impl From<&Desc<'static>> for Named {
    fn from(desc: &Desc<'static>) -> Self {
        let Desc { name, help, kind, labels, sparse } = *desc;
        Self { name: name.into(), help: help.into(), kind, labels, sparse }
    }
}

/// Numbers that each are a family of their own. Names and helps are made once for each place in the kernel's order,
/// which does not change while it runs. Most fields are not wanted: of those nothing is kept but their names, in one piece.
#[derive(Default)]
pub(super) struct Fields {
    /// The fields of the last pass as `group key`, one behind the other.
    names: String,
    places: Vec<Place>,
    wanted: Vec<Wanted>,
    /// How many places this pass has so far, where the last of their names ends, and how many of them are wanted.
    count: usize,
    end: usize,
    wanted_count: usize,
}

struct Place {
    /// Where its name ends.
    end: usize,
    wanted: bool,
}

struct Wanted {
    family: Named,
    value: i128,
}

impl Fields {
    /// Begins a new pass.
    pub(super) fn begin(&mut self) {
        (self.count, self.end, self.wanted_count) = (0, 0, 0);
    }

    /// Takes the next number. `make` names its family, or says that the number is not wanted.
    pub(super) fn take(
        &mut self,
        (group, key): (&str, &str),
        value: impl FnOnce() -> Result<i128, ParseError>,
        make: impl FnOnce() -> Option<Named>,
    ) -> Result<(), ParseError> {
        let is_same = |place: &&Place| {
            let name = self.names.get(self.end..place.end).and_then(|name| name.strip_prefix(group));
            name.and_then(|name| name.strip_prefix(' ')) == Some(key)
        };
        let known = self.places.get(self.count).filter(is_same).map(|place| (place.end, place.wanted));
        let (end, wanted) = known.unwrap_or_else(|| self.put((group, key), make()));
        (self.count, self.end) = (self.count + 1, end);
        if wanted {
            if let Some(wanted) = self.wanted.get_mut(self.wanted_count) {
                wanted.value = value()?;
            }
            self.wanted_count += 1;
        }
        Ok(())
    }

    /// Puts a field in the next place and forgets those that were there and behind; where its name ends, and whether it is
    /// wanted.
    fn put(&mut self, (group, key): (&str, &str), family: Option<Named>) -> (usize, bool) {
        self.places.truncate(self.count);
        self.names.truncate(self.end);
        self.wanted.truncate(self.wanted_count);
        let family = family.filter(|family| self.may_open(&family.name));
        self.names.extend([group, " ", key]);
        let (end, wanted) = (self.names.len(), family.is_some());
        self.places.push(Place { end, wanted });
        self.wanted.extend(family.map(|family| Wanted { family, value: 0 }));
        (end, wanted)
    }

    /// Writes the numbers of this pass.
    pub(super) fn write(&self, out: &mut dyn Sink) {
        for Wanted { family, value } in self.wanted.iter().take(self.wanted_count) {
            out.family(&family.desc());
            out.sample(&[], whole(*value));
        }
    }

    /// Whether a family of this name can be on a page: a damaged file could say a name twice, or nonsense.
    fn may_open(&self, name: &str) -> bool {
        is_name(name) && self.wanted.iter().all(|wanted| wanted.family.name != name)
    }
}

/// Whether a text is the name of a metric.
pub(super) fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    #[test]
    fn fields_are_named_once_and_followed_when_they_change() {
        let mut fields = Fields::default();
        let mut count = 0;
        let mut pass = |words: &[&str]| {
            fields.begin();
            for (i, word) in words.iter().enumerate() {
                let mut make = || {
                    count += 1;
                    (*word != "unwanted")
                        .then(|| Named::new(format!("node_{word}"), "H.".into(), Kind::Untyped, &[]))
                };
                let value = i128::try_from(i).unwrap() - 1;
                fields.take(("g", word), || Ok(value), &mut make).unwrap();
            }
            let mut out = TextEncoder::default();
            fields.write(&mut out);
            let page = String::from_utf8(out.page().to_vec()).unwrap();
            page.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(pass(&["a", "unwanted", "b"]), "node_a -1 node_b 1");
        assert_eq!(pass(&["a", "unwanted", "b"]), "node_a -1 node_b 1");
        assert_eq!(pass(&["a", "unwanted"]), "node_a -1");
        assert_eq!(pass(&["a", "unwanted", "b"]), "node_a -1 node_b 1");
        assert_eq!(pass(&["a", "a", "b$", "c"]), "node_a -1 node_c 2");
        assert_eq!(count, 6);
    }
}
