//! Requests in JSON, written as protocol buffers: there is one decoder, and JSON gets no memory that bytes would not.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use super::schema::{Field, Kind, Message, REQUEST};
use super::wire::{put_bytes, put_key, put_length, put_varint};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The request as protocol buffers, of at most `most` bytes; otherwise what is wrong with it.
pub(crate) fn request(json: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut from = serde_json::Deserializer::from_slice(json);
    let whole = Fields { message: &REQUEST, out: &mut out, most };
    from.deserialize_map(whole).and_then(|()| from.end()).map_err(|e| e.to_string())?;
    Ok(out)
}

/// Reads an object and writes the fields of a message.
struct Fields<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
    most: usize,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match self.message.fields.iter().find(|field| is_named(field.name, &name)) {
                Some(field) => {
                    map.next_value_seed(Slot { field, out: &mut *self.out, most: self.most, inside: false })?;
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Whether a key is a field's name: as JSON has it, or as the protocol's own description does.
fn is_named(name: &str, key: &str) -> bool {
    let mut letters = name.chars().flat_map(|c| {
        let (first, second) =
            if c.is_ascii_uppercase() { (Some('_'), c.to_ascii_lowercase()) } else { (None, c) };
        first.into_iter().chain([second])
    });
    name == key
        || (key.contains('_') && key.chars().all(|c| letters.next() == Some(c)) && letters.next().is_none())
}

/// Reads the value of a field and writes it.
struct Slot<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
    most: usize,
    /// Whether it is one of a list.
    inside: bool,
}

impl Slot<'_> {
    fn room<E: Error>(&self) -> Result<(), E> {
        if self.out.len() > self.most {
            return Err(E::custom(format_args!("it is more than {} bytes as protocol buffers", self.most)));
        }
        Ok(())
    }

    fn varint(self, value: u64) {
        put_key(self.out, self.field.number, 0);
        put_varint(self.out, value);
    }

    fn fixed64(self, value: u64) {
        put_key(self.out, self.field.number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.fixed64((value as f64).to_bits()),
            Kind::Fixed64 => self.fixed64(value.cast_unsigned()),
            Kind::Signed32 => self.varint(((value << 1) ^ (value >> 63)).cast_unsigned()),
            Kind::Integer | Kind::Named(_) => self.varint(value.cast_unsigned()),
            _ => return Err(E::custom(format_args!("a number for {}", self.field.name))),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.room()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {}", self.field.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(A::Error::custom(format_args!("an object for {}", self.field.name)));
        };
        put_key(self.out, self.field.number, 2);
        let start = self.out.len();
        Fields { message, out: &mut *self.out, most: self.most }.visit_map(map)?;
        put_length(self.out, start);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.inside {
            return Err(A::Error::custom("a list of lists"));
        }
        let Self { field, out, most, .. } = self;
        while list.next_element_seed(Slot { field, out: &mut *out, most, inside: true })?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let wrong = |name: &str| E::custom(format_args!("{text:?} for {name}"));
        let name = self.field.name;
        match self.field.kind {
            Kind::Text => put_bytes(self.out, self.field.number, text.as_bytes()),
            Kind::Hex => {
                let bytes = hex(text).ok_or_else(|| wrong(name))?;
                put_bytes(self.out, self.field.number, &bytes);
            }
            Kind::Base64 => {
                let bytes = STANDARD.decode(text).map_err(|_| wrong(name))?;
                put_bytes(self.out, self.field.number, &bytes);
            }
            Kind::Named(names) => {
                let at = names.iter().position(|known| *known == text).ok_or_else(|| wrong(name))?;
                self.varint(at as u64);
            }
            Kind::Double => self.fixed64(text.parse::<f64>().map_err(|_| wrong(name))?.to_bits()),
            Kind::Fixed64 | Kind::Integer | Kind::Signed32 => {
                if let Ok(value) = text.parse::<u64>() {
                    return self.visit_u64(value);
                }
                return self.integer(text.parse().map_err(|_| wrong(name))?);
            }
            Kind::Bool | Kind::Message(_) => return Err(wrong(name)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match (i64::try_from(value), self.field.kind) {
            (Ok(value), _) => return self.integer(value),
            (Err(_), Kind::Fixed64) => self.fixed64(value),
            (Err(_), Kind::Integer) => self.varint(value),
            (Err(_), Kind::Double) => self.fixed64((value as f64).to_bits()),
            _ => return Err(E::custom(format_args!("{value} for {}", self.field.name))),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => {
                self.fixed64(value.to_bits());
                Ok(())
            }
            _ => Err(E::custom(format_args!("{value} for {}", self.field.name))),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.varint(u64::from(value));
                Ok(())
            }
            _ => Err(E::custom(format_args!("{value} for {}", self.field.name))),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // JSON's null is a field that is not there.
        Ok(())
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn an_object_becomes_the_bytes_that_it_stands_for() {
        let json = br#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"-1"}}]},
            "scope_metrics":[{"metrics":[{"name":"m","sum":{"dataPoints":[{"asDouble":"NaN","timeUnixNano":"7"}],
            "aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","isMonotonic":true,"later":{}}}]}],
            "schemaUrl":null}]}"#;
        let out = request(json, 1000).unwrap();
        assert_eq!(schema::check(&out), Ok(()));
        let minus_one = [0x12, 11, 0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert!(out.windows(minus_one.len()).any(|window| window == minus_one), "{out:?}");
        let point = [&[0x21][..], &f64::NAN.to_bits().to_le_bytes(), &[0x19], &7_u64.to_le_bytes()].concat();
        assert!(out.windows(point.len()).any(|window| window == point), "{out:?}");
        assert!(out.ends_with(&[0x10, 2, 0x18, 1]), "{out:?}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, why) in [
            ("", "EOF"),
            ("[]", "an object"),
            ("{\"resourceMetrics\":1}", "a number for resourceMetrics"),
            ("{\"resourceMetrics\":[[{}]]}", "a list of lists"),
            ("{\"resourceMetrics\":{}} x", "trailing"),
            ("{\"resourceMetrics\":[{\"schemaUrl\":7}]}", "a number for schemaUrl"),
        ] {
            let error = request(json.as_bytes(), 1000).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        let long = format!("{{\"resourceMetrics\":[{}{{}}]}}", "{},".repeat(1000));
        assert!(request(long.as_bytes(), 1000).unwrap_err().contains("more than 1000 bytes"));
        assert!(request(long.as_bytes(), 3000).is_ok());
    }

    #[test]
    fn keys_may_be_written_both_ways() {
        assert!(is_named("timeUnixNano", "timeUnixNano") && is_named("timeUnixNano", "time_unix_nano"));
        assert!(!is_named("timeUnixNano", "time_unix") && !is_named("timeUnixNano", "time_unix_nano_x"));
    }
}
