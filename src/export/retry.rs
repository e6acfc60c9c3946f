//! When to come again: what answers say about that.
//!
//! Source: RFC 9110, section 10.2.3 and 5.6.7; `google/rpc/error_details.proto`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use prost::Message;
use std::time::Duration;

/// The forms of a date in a header, the one in use first. All are of UTC.
const DATES: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
/// With and without the padding: senders differ.
const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// From when on a destination wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// In that time.
    In(Duration),
    /// Then, in milliseconds since the epoch by the clock of who asks.
    At(i64),
}

impl After {
    /// How long that is from now on.
    pub(super) fn from(self, now_millis: i64) -> Duration {
        match self {
            Self::In(time) => time,
            Self::At(then) => {
                Duration::from_millis(u64::try_from(then.saturating_sub(now_millis)).unwrap_or(0))
            }
        }
    }
}

/// What `Retry-After` says: seconds, or a date. A date is compared with that of the answer where it has one: clocks differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<After> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let said = text(RETRY_AFTER)?;
    if let Ok(seconds) = said.parse() {
        return Some(After::In(Duration::from_secs(seconds)));
    }
    let then = date(said)?;
    let answered = text(DATE).and_then(date);
    Some(answered.map_or(After::At(then), |answered| After::In(After::At(then).from(answered))))
}

/// A date of a header in milliseconds since the epoch.
fn date(text: &str) -> Option<i64> {
    let of = |form| strtime::parse(form, text).ok()?.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok();
    DATES.into_iter().find_map(of).map(|date| date.timestamp().as_millisecond())
}

/// `google.rpc.Status`, as far as it is of use.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What the details of a status of gRPC say: none where nothing asks to come again; at once, where it does not say when.
pub(super) fn retry_info(details: &str) -> Option<After> {
    let bytes = ANY_PADDING.decode(details.trim()).ok()?;
    let all = Status::decode(bytes.as_slice()).ok()?.details;
    let info = all.into_iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok().and_then(|info| info.delay);
    let part = |delay: Delay| Some((u64::try_from(delay.seconds).ok()?, u64::try_from(delay.nanos).ok()?));
    let (seconds, nanos) = delay.and_then(part).unwrap_or_default();
    Some(After::In(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn after(retry: &str, answered: Option<&str>) -> Option<After> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(retry).unwrap());
        headers.extend(answered.map(|date| (DATE, HeaderValue::from_str(date).unwrap())));
        retry_after(&headers)
    }

    #[test]
    fn a_destination_says_in_how_many_seconds_or_when() {
        let seconds = |seconds| Some(After::In(Duration::from_secs(seconds)));
        assert_eq!(after(" 120 ", None), seconds(120));
        // The dates of RFC 9110, which are one.
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(after(date, None), Some(After::At(784_111_777_000)), "{date}");
            assert_eq!(after(date, Some("Sun, 06 Nov 1994 08:49:00 GMT")), seconds(37), "{date}");
            assert_eq!(after(date, Some("Mon, 07 Nov 1994 08:49:00 GMT")), seconds(0), "it is over: {date}");
            assert_eq!(after(date, Some("now")), Some(After::At(784_111_777_000)));
        }
        for bad in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(after(bad, None), None, "{bad}");
        }
        assert_eq!(After::At(5000).from(2000), Duration::from_secs(3));
        assert_eq!(After::At(i64::MIN).from(i64::MAX), Duration::ZERO);
        assert!(After::At(i64::MAX).from(i64::MIN) > Duration::from_hours(1));
    }

    #[test]
    fn a_status_of_grpc_says_it_too() {
        let details = |delay: Option<Delay>, kind: &str| {
            let info = RetryInfo { delay }.encode_to_vec();
            let any = Any { type_url: format!("type.googleapis.com/{kind}"), value: info };
            ANY_PADDING.encode(Status { details: vec![any] }.encode_to_vec())
        };
        let kind = "google.rpc.RetryInfo";
        let text = details(Some(Delay { seconds: 3, nanos: 500_000_000 }), kind);
        let expected = Some(After::In(Duration::from_millis(3500)));
        assert_eq!(retry_info(&text), expected);
        assert_eq!(retry_info(text.trim_end_matches('=')), expected, "without padding");
        let at_once = Some(After::In(Duration::ZERO));
        assert_eq!(retry_info(&details(None, kind)), at_once);
        assert_eq!(retry_info(&details(Some(Delay { seconds: -1, nanos: 0 }), kind)), at_once);
        for none in [details(None, "google.rpc.QuotaFailure"), String::new(), "%%%".into(), "AAAA".into()] {
            assert_eq!(retry_info(&none), None, "{none}");
        }
    }
}
