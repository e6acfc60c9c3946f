//! What a certificate says that rustls does not tell: its alternative names (RFC 5280, 4.2.1.6), of all kinds that
//! `client_allowed_sans` may list, and when it is valid.

use rustls::CertificateError;
use std::net::IpAddr;

/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `extensions [3] EXPLICIT` of a certificate's body.
const EXTENSIONS: u8 = 0xa3;
/// Kinds of names: `[1]`, `[2]`, `[6]` and `[7]`.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// The names as text: host names, addresses of mail, URIs and IP addresses. What cannot be read has none.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    extension(certificate).map(|names| children(names).filter_map(name).collect()).unwrap_or_default()
}

/// Whether a certificate is valid at a time, in seconds since the epoch.
pub(super) fn valid_at(certificate: &[u8], now: u64) -> Result<(), CertificateError> {
    let (from, until) = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if now < from {
        return Err(CertificateError::NotValidYet);
    }
    if now > until { Err(CertificateError::Expired) } else { Ok(()) }
}

/// From when until when, in seconds since the epoch.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let body = find(content(certificate, SEQUENCE)?, SEQUENCE)?;
    // The number, then the signature's algorithm, the issuer, and the times.
    let mut fields = children(body).skip_while(|(tag, _)| *tag != INTEGER);
    let (SEQUENCE, times) = fields.nth(3)? else { return None };
    let mut times = children(times);
    Some((time(times.next()?)?, time(times.next()?)?))
}

fn time((kind, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let whole = match kind {
        // Years from 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", whole).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The content of the extension with the names.
fn extension(certificate: &[u8]) -> Option<&[u8]> {
    let body = find(content(certificate, SEQUENCE)?, SEQUENCE)?;
    let extensions = content(find(body, EXTENSIONS)?, SEQUENCE)?;
    let value = children(extensions).filter(|(tag, _)| *tag == SEQUENCE).find_map(|(_, extension)| {
        (find(extension, OBJECT_IDENTIFIER)? == SUBJECT_ALT_NAME).then(|| find(extension, OCTET_STRING))?
    })?;
    content(value, SEQUENCE)
}

fn name((kind, value): (u8, &[u8])) -> Option<String> {
    match kind {
        EMAIL | DNS | URI => String::from_utf8(value.to_vec()).ok(),
        IP => {
            let v4 = || <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(value).ok().map(IpAddr::from);
            v4().or_else(v6).map(|address| address.to_canonical().to_string())
        }
        _ => None,
    }
}

/// The content of the first value with this tag among those one behind the other in `bytes`.
fn find(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    children(bytes).find(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// The content of the value that `bytes` begins with, if it has this tag.
fn content(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    children(bytes).next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Tags and contents of the values one behind the other in `bytes`; it ends where something cannot be read.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // Up to 127 the length itself, above it the number of the bytes that hold it.
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some((tag, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn all_kinds_of_names_are_read() {
        let names_in = vec![
            SanType::DnsName("prometheus.example".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.org".try_into().unwrap()),
            SanType::URI("spiffe://example.org/prometheus".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        let expected = [
            "prometheus.example",
            "ops@example.org",
            "spiffe://example.org/prometheus",
            "10.1.2.3",
            "2001:db8::1",
        ];
        assert_eq!(names(&certificate(names_in)), expected);
        assert_eq!(names(&certificate(vec![])), Vec::<String>::new());
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_to_its_last_second() {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (from, until) = (1_709_164_800, 2_556_144_000);
        assert_eq!(validity(certificate.der()), Some((from, until)));
        let at = |second: i64| valid_at(certificate.der(), u64::try_from(second).unwrap());
        assert_eq!((at(from), at(until)), (Ok(()), Ok(())));
        assert_eq!(at(from - 1), Err(CertificateError::NotValidYet));
        assert_eq!(at(until + 1), Err(CertificateError::Expired));
        assert_eq!(valid_at(b"nothing", 0), Err(CertificateError::BadEncoding));
    }

    #[test]
    fn a_certificate_that_is_cut_or_changed_anywhere_is_no_reason_to_panic() {
        let whole = certificate(vec![SanType::DnsName("a.example".try_into().unwrap())]);
        for at in 0..whole.len() {
            assert_eq!(names(&whole[..at]), Vec::<String>::new(), "cut at {at}");
            for bit in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= bit;
                assert!(names(&changed).len() < 4);
                let _any = validity(&changed);
            }
        }
    }
}
