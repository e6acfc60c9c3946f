//! Attributes as labels: the text of each value, and what a resource and a scope give to all of their points.

use super::Names;
use super::naming;
use super::wire::{Fields, Wire};
use crate::apps::limits::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::borrow::Cow;

/// The most values that are read of one attribute. Each has at least two letters with what stands between them, so that
/// what is left out was longer than the value of a label may ever be.
const VALUES_MAX: usize = 32_768;

/// A label whose name and value may be those of the request.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A text field. That it is UTF-8 was looked at before.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Key and value of an attribute, not yet a text.
fn pair(bytes: &[u8]) -> (&str, &[u8]) {
    let (mut key, mut value) = ("", &[][..]);
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = text(bytes),
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    (key, value)
}

/// An attribute's key and the text of its value.
pub(super) fn attribute(bytes: &[u8]) -> (&str, Cow<'_, str>) {
    let (key, value) = pair(bytes);
    let text = match Fields(value).flatten().last() {
        Some((1, Wire::Bytes(bytes))) => Cow::Borrowed(text(bytes)),
        Some((7, Wire::Bytes(bytes))) => Cow::Owned(STANDARD.encode(bytes)),
        Some((5 | 6, Wire::Bytes(_))) => Cow::Owned(json(value, &mut { VALUES_MAX }).to_string()),
        Some((2, Wire::Varint(value))) => Cow::Borrowed(if value == 0 { "false" } else { "true" }),
        Some((3, Wire::Varint(value))) => Cow::Owned(value.cast_signed().to_string()),
        Some((4, Wire::Fixed64(bits))) => Cow::Owned(float(f64::from_bits(bits))),
        _ => Cow::Borrowed(""),
    };
    (key, text)
}

fn float(value: f64) -> String {
    if value.abs() < 1e21 { value.to_string() } else { format!("{value:e}") }
}

/// A value as JSON: the text of lists and maps. How deep they are was looked at before.
fn json(value: &[u8], left: &mut usize) -> Value {
    fn values(list: &[u8]) -> impl Iterator<Item = &[u8]> {
        Fields(list).flatten().filter_map(|(number, wire)| match (number, wire) {
            (1, Wire::Bytes(value)) => Some(value),
            _ => None,
        })
    }
    match Fields(value).flatten().last() {
        Some((1, Wire::Bytes(bytes))) => text(bytes).into(),
        Some((2, Wire::Varint(value))) => (value != 0).into(),
        Some((3, Wire::Varint(value))) => value.cast_signed().into(),
        Some((4, Wire::Fixed64(bits))) => f64::from_bits(bits).into(),
        Some((5, Wire::Bytes(list))) => {
            values(list).map_while(|value| one_less(left).then(|| json(value, left))).collect()
        }
        Some((6, Wire::Bytes(list))) => {
            let pairs = values(list).map(pair);
            pairs
                .map_while(|(key, value)| one_less(left).then(|| (key.to_owned(), json(value, left))))
                .collect()
        }
        Some((7, Wire::Bytes(bytes))) => STANDARD.encode(bytes).into(),
        _ => Value::Null,
    }
}

/// Whether there was one left.
fn one_less(left: &mut usize) -> bool {
    let next = left.checked_sub(1);
    *left = next.unwrap_or(0);
    next.is_some()
}

/// An attribute as a label.
pub(super) fn label(names: Names, bytes: &[u8]) -> Label<'_> {
    let (key, value) = attribute(bytes);
    (naming::label(names, key), value)
}

/// What a resource says: who it is, and what `target_info` shows of it.
#[derive(Debug, Default)]
pub(super) struct Resource<'a> {
    pub(super) job: String,
    pub(super) instance: Cow<'a, str>,
    pub(super) others: Vec<Label<'a>>,
}

impl<'a> Resource<'a> {
    /// Reads it; of attributes that are too many to be labels, one more than `most`.
    pub(super) fn read(names: Names, bytes: &'a [u8], most: usize) -> Self {
        let (mut out, mut service, mut space) = (Self::default(), Cow::Borrowed(""), Cow::Borrowed(""));
        for (number, wire) in Fields(bytes).flatten() {
            let (1, Wire::Bytes(bytes)) = (number, wire) else { continue };
            let (key, value) = attribute(bytes);
            match key {
                "service.name" => service = value,
                "service.namespace" => space = value,
                "service.instance.id" => out.instance = value,
                _ if value.is_empty() || out.others.len() > most => {}
                _ => out.others.push((naming::label(names, key), value)),
            }
        }
        out.job = if space.is_empty() { service.into_owned() } else { format!("{space}/{service}") };
        out
    }
}

/// The labels that a scope gives to its points: each point has all of them, so they are not more than `most`.
pub(super) fn scope<'a>(
    names: Names,
    bytes: &'a [u8],
    schema_url: &'a str,
    most: usize,
) -> Result<Vec<Label<'a>>, Refusal> {
    let (mut name, mut version) = ("", "");
    let mut out: Vec<Label<'a>> = Vec::new();
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => name = text(bytes),
            (2, Wire::Bytes(bytes)) => version = text(bytes),
            (3, Wire::Bytes(bytes)) => {
                let (key, value) = attribute(bytes);
                if value.is_empty() {
                    continue;
                }
                let key = format!("otel_scope_{key}");
                out.push((naming::label(names, &key).into_owned().into(), value));
            }
            _ => {}
        }
        if out.len() > most {
            return Err(Refusal::Labels);
        }
    }
    let own = [("name", name), ("version", version), ("schema_url", schema_url)];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    let own = own.map(|(key, value)| (format!("otel_scope_{key}").into(), value.into()));
    Ok(own.chain(out).collect())
}

#[cfg(test)]
mod tests {
    use super::super::json::request;
    use super::*;

    /// The bytes of the first message in a request, down the path of these fields.
    fn bytes(json: &str, path: &[u32]) -> Vec<u8> {
        let mut out = request(json.as_bytes(), 10_000).unwrap();
        for wanted in path {
            let inner = Fields(&out).flatten().find_map(|(number, wire)| match wire {
                Wire::Bytes(bytes) if number == *wanted => Some(bytes.to_vec()),
                _ => None,
            });
            out = inner.unwrap();
        }
        out
    }

    #[test]
    fn every_kind_of_value_has_a_text() {
        for (value, want) in [
            (r#"{"stringValue":"a"}"#, "a"),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"intValue":"-7"}"#, "-7"),
            (r#"{"doubleValue":1.5}"#, "1.5"),
            (r#"{"doubleValue":2}"#, "2"),
            (r#"{"doubleValue":1e300}"#, "1e300"),
            (r#"{"bytesValue":"AAE="}"#, "AAE="),
            (r#"{"arrayValue":{"values":[{"intValue":1},{"stringValue":"b"}]}}"#, r#"[1,"b"]"#),
            (
                r#"{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[{}]}}}]}}"#,
                r#"{"k":[null]}"#,
            ),
            ("{}", ""),
        ] {
            let json = format!(
                r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a.b","value":{value}}}]}}}}]}}"#
            );
            let bytes = bytes(&json, &[1, 1, 1]);
            assert_eq!(attribute(&bytes), ("a.b", want.into()), "{value}");
        }
    }

    #[test]
    fn of_long_lists_as_much_is_read_as_could_be_a_label() {
        let many = vec![r#"{"stringValue":"a"}"#; VALUES_MAX * 2].join(",");
        let list = format!(r#"{{"arrayValue":{{"values":[{many}]}}}}"#);
        let json = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a","value":{{"arrayValue":{{"values":[{list},{list}]}}}}}}]}}}}]}}"#
        );
        let bytes = {
            let mut out = request(json.as_bytes(), 1 << 20).unwrap();
            for _ in 0..3 {
                let Some(Ok((1, Wire::Bytes(inner)))) = Fields(&out).next() else { panic!("no message") };
                out = inner.to_vec();
            }
            out
        };
        let text = attribute(&bytes).1;
        assert!(
            text.len() > usize::from(u16::MAX) && text.matches('a').count() < VALUES_MAX,
            "{}",
            text.len()
        );
    }

    #[test]
    fn a_resource_says_who_it_is() {
        let json = r#"{"resourceMetrics":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.name","value":{"stringValue":"h"}},
            {"key":"service.namespace","value":{"stringValue":"eu"}},
            {"key":"service.instance.id","value":{"stringValue":"i-1"}}]}}]}"#;
        let bytes = bytes(json, &[1, 1]);
        let resource = Resource::read(Names::Underscores, &bytes, 40);
        assert_eq!((resource.job.as_str(), &*resource.instance), ("eu/shop", "i-1"));
        assert_eq!(resource.others, [("host_name".into(), "h".into())]);
    }
}
