//! What a client asks for in `Accept` and `Accept-Encoding`, read as Prometheus's own client libraries read it.
//!
//! Source: `expfmt.Negotiate` of github.com/prometheus/common; RFC 9110, 12.5.

use super::Syntax;
use super::compress::Coding;
use super::name::Scheme;

/// The most entries of a header that are looked at.
const CLAUSES_MAX: usize = 32;

/// What the body of a response is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The format.
    pub syntax: Syntax,
    /// How names are escaped.
    pub scheme: Scheme,
    /// The version of the format, where it has one.
    version: &'static str,
}

impl Default for Format {
    fn default() -> Self {
        Self { syntax: Syntax::Text, scheme: Scheme::default(), version: "0.0.4" }
    }
}

impl Format {
    /// The value of the header `Content-Type`.
    pub fn content_type(&self) -> String {
        let (version, scheme) = (self.version, self.scheme.as_str());
        match self.syntax {
            Syntax::Text => format!("text/plain; version={version}; charset=utf-8; escaping={scheme}"),
            Syntax::OpenMetrics => {
                format!("application/openmetrics-text; version={version}; charset=utf-8; escaping={scheme}")
            }
            Syntax::Protobuf => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={scheme}"
            ),
        }
    }
}

/// The format that the client likes best. Nothing that it says is an error: text is for everybody.
pub fn format(accept: &str) -> Format {
    clauses(accept).into_iter().find_map(|clause| clause.format()).unwrap_or_default()
}

/// The coding that the client likes best. Of equals zstd comes first: it costs no more and is smaller.
pub fn coding(accept_encoding: &str) -> Coding {
    let clauses = clauses(accept_encoding);
    let weight = |coding: Coding| {
        clauses.iter().find(|clause| clause.name.eq_ignore_ascii_case(coding.as_str())).map(|c| c.weight)
    };
    let all = [Coding::Zstd, Coding::Gzip, Coding::Identity].map(|coding| (weight(coding), coding));
    all.into_iter()
        .filter_map(|(weight, coding)| Some((weight?, coding)))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map_or(Coding::Identity, |(_, coding)| coding)
}

/// One entry of a header.
struct Clause<'a> {
    name: &'a str,
    parameters: &'a str,
    weight: f32,
}

/// The entries that the client does not refuse, the best first and otherwise in their order.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = header
        .split(',')
        .take(CLAUSES_MAX)
        .map(|text| {
            let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
            let clause = Clause { name: name.trim(), parameters, weight: 1.0 };
            // A weight that is none says nothing good of the rest of the entry.
            let weight = clause.parameter("q").map(|q| q.parse().unwrap_or(0.0));
            Clause { weight: weight.unwrap_or(1.0), ..clause }
        })
        .filter(|clause| clause.weight > 0.0)
        .collect();
    out.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    out
}

impl<'a> Clause<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    }

    /// The format that this entry asks for, if it is one of ours. A wildcard asks for none.
    fn format(&self) -> Option<Format> {
        let is = |name: &str| self.name.eq_ignore_ascii_case(name);
        let version = self.parameter("version").unwrap_or_default();
        let (syntax, version) = if is("text/plain") {
            match version {
                "" | "0.0.4" => (Syntax::Text, "0.0.4"),
                "1.0.0" => (Syntax::Text, "1.0.0"),
                _ => return None,
            }
        } else if is("application/openmetrics-text") {
            match version {
                "" | "0.0.1" => (Syntax::OpenMetrics, "0.0.1"),
                "1.0.0" => (Syntax::OpenMetrics, "1.0.0"),
                _ => return None,
            }
        } else if is("application/vnd.google.protobuf")
            && self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
            && self.parameter("encoding") == Some("delimited")
        {
            (Syntax::Protobuf, "")
        } else {
            return None;
        };
        let scheme = self.parameter("escaping").and_then(Scheme::parse).unwrap_or_default();
        Some(Format { syntax, scheme, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    fn asked(accept: &str) -> (Syntax, &'static str, Scheme) {
        let format = format(accept);
        (format.syntax, format.version, format.scheme)
    }

    #[test]
    fn prometheus_gets_what_it_likes_best() {
        use Scheme::{AllowUtf8, Underscores};
        let om = "application/openmetrics-text;version=1.0.0";
        for (accept, syntax, version, scheme) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Syntax::OpenMetrics,
                "1.0.0",
                Underscores,
            ),
            (
                &format!("{PROTOBUF},{om};q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
                Syntax::Protobuf,
                "",
                Underscores,
            ),
            (
                &format!(
                    "{om};escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
                ),
                Syntax::OpenMetrics,
                "1.0.0",
                AllowUtf8,
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5",
                Syntax::Text,
                "1.0.0",
                AllowUtf8,
            ),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Syntax::Text, "0.0.4", Underscores),
        ] {
            assert_eq!(asked(accept), (syntax, version, scheme), "{accept}");
        }
    }

    #[test]
    fn weights_decide_and_order_among_equals() {
        assert_eq!(asked("text/plain;q=0.3, application/openmetrics-text;q=0.4").0, Syntax::OpenMetrics);
        assert_eq!(asked("text/plain, application/openmetrics-text").0, Syntax::Text);
        assert_eq!(asked("application/openmetrics-text, text/plain").0, Syntax::OpenMetrics);
        assert_eq!(asked("application/openmetrics-text; q=0, text/plain; q=0.1").0, Syntax::Text);
        assert_eq!(asked("*/*, application/openmetrics-text;q=0.1").0, Syntax::OpenMetrics, "as expfmt");
    }

    #[test]
    fn the_scheme_is_that_of_the_chosen_entry() {
        for (name, scheme) in [
            ("dots", Scheme::Dots),
            ("values", Scheme::Values),
            ("\"underscores\"", Scheme::Underscores),
            ("ALLOW", Scheme::Underscores),
        ] {
            assert_eq!(asked(&format!("text/plain; escaping={name}")).2, scheme);
        }
        assert_eq!(asked("text/plain;version=9;escaping=dots,text/plain;q=0.5").2, Scheme::Underscores);
    }

    #[test]
    fn nonsense_gets_text() {
        let many = "application/openmetrics-text;q=0,".repeat(1000);
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/html,application/xhtml+xml",
            ";;;,,,=;q",
            "application/openmetrics-text;q=high",
            "application/openmetrics-text;q=-1",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;version=2.0.0",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf;proto=x;encoding=delimited",
            "ünï/cödé;q=1",
            &many,
        ] {
            assert_eq!(format(accept), Format::default(), "{accept}");
        }
    }

    #[test]
    fn content_types_name_version_and_scheme() {
        let of = |accept| format(accept).content_type();
        assert_eq!(of(""), crate::encode::text::CONTENT_TYPE);
        assert_eq!(
            of("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
        assert_eq!(
            of(PROTOBUF),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
        );
    }

    #[test]
    fn codings_are_chosen_by_weight() {
        for (accept, coding_wanted) in [
            ("gzip", Coding::Gzip),
            ("GZIP", Coding::Gzip),
            ("deflate, gzip, br, zstd", Coding::Zstd),
            ("gzip;q=1.0, zstd;q=0.5", Coding::Gzip),
            ("zstd;q=0, gzip;q=0.1", Coding::Gzip),
            ("identity, gzip;q=0.5", Coding::Identity),
            ("gzip, identity", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("*", Coding::Identity),
            ("", Coding::Identity),
            ("br", Coding::Identity),
            ("gzip;q=much", Coding::Identity),
        ] {
            assert_eq!(coding(accept), coding_wanted, "{accept}");
        }
    }
}
