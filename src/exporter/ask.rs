//! What a scrape asks for: format, coding, collectors, and by when it wants its answer.

use super::scrapes::Want;
use crate::collect::scraper::Pick;
use crate::encode::compress::Coding;
use crate::encode::negotiate::{self, Format};
use crate::serve::query::query;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AsHeaderName};
use std::time::Duration;

/// Prometheus's header: when it gives up.
const TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// How long an answer may take when the request does not say.
const PATIENCE: Duration = Duration::from_secs(25);
/// The longest time-out that is believed, in seconds.
const TIMEOUT_SECONDS_MAX: f64 = 300.0;
/// The most of a time-out that is kept for the way back; of short ones it is a tenth.
const WAY_BACK_MAX: Duration = Duration::from_millis(500);

/// A request for the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(super) format: Format,
    pub(super) coding: Coding,
    pub(super) pick: Pick,
    /// How long the answer may take.
    pub(super) patience: Duration,
}

impl Ask {
    /// Reads a request, or says why it cannot be answered.
    pub(crate) fn read(headers: &HeaderMap, text: Option<&str>) -> Result<Self, &'static str> {
        Ok(Self {
            format: negotiate::format(&joined(headers, ACCEPT)),
            coding: negotiate::coding(&joined(headers, ACCEPT_ENCODING)),
            pick: pick(text)?,
            patience: patience(&joined(headers, TIMEOUT)),
        })
    }

    /// What the scrape thread needs to know of it.
    pub(crate) fn want(self) -> Want {
        let Self { format: Format { syntax, scheme, .. }, coding, pick, .. } = self;
        Want { syntax, scheme, pick, coding }
    }
}

/// All values of a header; what is no text is left out.
fn joined(headers: &HeaderMap, name: impl AsHeaderName) -> String {
    let all: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    all.join(",")
}

fn patience(header: &str) -> Duration {
    let seconds = header.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    let Some(seconds) = seconds else { return PATIENCE };
    let whole = Duration::from_secs_f64(seconds.min(TIMEOUT_SECONDS_MAX));
    whole.saturating_sub((whole / 10).min(WAY_BACK_MAX))
}

/// The collectors that `collect[]` and `exclude[]` name, each once and sorted, so that equal requests share a pass.
fn pick(text: Option<&str>) -> Result<Pick, &'static str> {
    let names = |key| {
        let mut names: Vec<String> = query(text, key).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (only, except) = (names("collect[]"), names("exclude[]"));
    match (only.is_empty(), except.is_empty()) {
        (true, true) => Ok(Pick::All),
        (false, true) => Ok(Pick::Only(only)),
        (true, false) => Ok(Pick::Except(except)),
        (false, false) => Err("Combined collect and exclude queries are not allowed."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_a_little_before_the_time_out() {
        for (header, millis) in [
            ("10", 9500),
            ("1", 900),
            ("0.5", 450),
            ("100000", 299_500),
            ("", 25_000),
            ("0", 25_000),
            ("-1", 25_000),
            ("NaN", 25_000),
            ("inf", 25_000),
            ("soon", 25_000),
        ] {
            assert_eq!(patience(header), Duration::from_millis(millis), "{header}");
        }
    }

    #[test]
    fn collectors_are_picked_or_left_out_but_not_both() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(pick(None), Ok(Pick::All));
        assert_eq!(pick(Some("x=1")), Ok(Pick::All));
        let several = "collect[]=stat&collect%5B%5D=cpu&collect[]=stat";
        assert_eq!(pick(Some(several)), Ok(Pick::Only(names(&["cpu", "stat"]))));
        assert_eq!(pick(Some("exclude[]=cpu")), Ok(Pick::Except(names(&["cpu"]))));
        assert!(pick(Some("collect[]=cpu&exclude[]=stat")).is_err());
    }

    #[test]
    fn several_headers_of_one_name_are_one() {
        let mut headers = HeaderMap::new();
        headers.append("accept", "text/plain;q=0.1".parse().unwrap());
        headers.append("accept", "application/openmetrics-text".parse().unwrap());
        headers.append("accept-encoding", "gzip".parse().unwrap());
        let ask = Ask::read(&headers, None).unwrap();
        assert_eq!(ask.coding, Coding::Gzip);
        assert!(ask.format.content_type().starts_with("application/openmetrics-text"));
    }
}
