//! Replicated block devices: /proc/drbd of DRBD 8.
//!
//! Source: the DRBD 8.4 user's guide, "Checking DRBD status".

use super::parse::ParseError;

/// One device and its `key:value` words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drbd<'a> {
    /// The device's number.
    pub number: u64,
    /// What stands behind it, in the kernel's order.
    pub fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Drbd<'a> {
    /// The text of a field.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|&(_, value)| value)
    }

    /// The number of a field.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ParseError> {
        let want =
            || ParseError::new(1, format!("a whole number behind `{name}:` of device {}", self.number));
        self.field(name).map(|value| value.parse().map_err(|_| want())).transpose()
    }
}

/// The devices of /proc/drbd.
pub fn drbd(text: &str) -> Vec<Drbd<'_>> {
    let mut out: Vec<Drbd<'_>> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let Some((name, value)) = word.split_once(':').filter(|(_, value)| !value.contains(':')) else {
            continue;
        };
        if let (Ok(number), true) = (name.parse(), value.is_empty()) {
            out.push(Drbd { number, fields: Vec::new() });
        } else if let Some(device) = out.last_mut() {
            device.fields.push((name, value));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_their_fields() {
        let all = drbd(
            "version: 8.4.3 (api:1/proto:86-101)\n\n 1: cs:Connected ro:Primary/Secondary C r-----\n    ns:17 wo:d\n 2: cs:Unconfigured\n",
        );
        assert_eq!((all.len(), all[0].number, all[1].number), (2, 1, 2));
        assert_eq!((all[0].field("ro"), all[0].field("version")), (Some("Primary/Secondary"), None));
        assert_eq!((all[0].number("ns"), all[0].number("nr")), (Ok(Some(17)), Ok(None)));
        assert!(all[0].number("wo").is_err());
    }
}
