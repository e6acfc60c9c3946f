//! The web configuration file of Prometheus's exporter-toolkit: its keys, their values and their defaults.

use super::attempts::Rate;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest file that is read, in bytes: a configuration, a certificate or a key.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a web configuration cannot be used. It never holds a secret.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {why}", path.display(), place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}")))]
pub struct WebError {
    /// The file.
    pub(super) path: PathBuf,
    /// Line and column, from 1, where they are known.
    pub(super) place: Option<(u64, u64)>,
    /// What is wrong, and what would be right.
    pub(super) why: String,
}

impl WebError {
    pub(super) fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place: None, why: why.into() }
    }
}

/// The file.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebConfig {
    pub(super) tls_server_config: Option<TlsConfig>,
    pub(super) http_server_config: Option<HttpConfig>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) basic_auth_users: Option<BTreeMap<String, Hash>>,
}

/// `tls_server_config`; an empty text is as good as none.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsConfig {
    pub(super) cert: Secret,
    pub(super) key: Secret,
    pub(super) client_ca: Secret,
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) client_ca_file: PathBuf,
    pub(super) client_auth_type: Option<ClientAuth>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Version,
    pub(super) max_version: Version,
    pub(super) cipher_suites: Option<Vec<Cipher>>,
    pub(super) curve_preferences: Option<Vec<Curve>>,
    pub(super) prefer_server_cipher_suites: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: Secret::default(),
            key: Secret::default(),
            client_ca: Secret::default(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            client_auth_type: None,
            client_allowed_sans: None,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            cipher_suites: None,
            curve_preferences: None,
            prefer_server_cipher_suites: true,
        }
    }
}

/// A text that is in no log and no message.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

/// What is asked of clients; the order is that of trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum ClientAuth {
    #[default]
    #[serde(rename = "NoClientCert", alias = "")]
    None,
    #[serde(rename = "RequestClientCert")]
    Request,
    #[serde(rename = "RequireAnyClientCert", alias = "RequireClientCert")]
    RequireAny,
    #[serde(rename = "VerifyClientCertIfGiven")]
    VerifyIfGiven,
    #[serde(rename = "RequireAndVerifyClientCert")]
    RequireAndVerify,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Version {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// A curve of the key exchange, under Go's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Curve {
    #[serde(rename = "CurveP256")]
    P256,
    #[serde(rename = "CurveP384")]
    P384,
    #[serde(rename = "CurveP521")]
    P521,
    X25519,
}

/// A cipher suite, under the name that Go and IANA give it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cipher(pub(super) String);

/// What Go's `tls.CipherSuites` had or has. Those without forward secrecy or with CBC are not offered here.
const CIPHERS: [&str; 17] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

impl TryFrom<String> for Cipher {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if CIPHERS.contains(&name.as_str()) {
            Ok(Self(name))
        } else {
            Err(format!("unknown cipher suite `{name}`"))
        }
    }
}

/// `http_server_config`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpConfig {
    pub(super) http2: bool,
    pub(super) headers: Option<Headers>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { http2: true, headers: None }
    }
}

/// Headers of every answer; those that exporter-toolkit lets be set.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Headers {
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: Option<String>,
    #[serde(rename = "X-Content-Type-Options")]
    x_content_type_options: Option<ContentTypeOptions>,
    #[serde(rename = "X-Frame-Options")]
    x_frame_options: Option<FrameOptions>,
    #[serde(rename = "X-XSS-Protection")]
    x_xss_protection: Option<String>,
    #[serde(rename = "Content-Security-Policy")]
    content_security_policy: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum ContentTypeOptions {
    #[serde(rename = "nosniff")]
    NoSniff,
}

#[derive(Clone, Copy, Deserialize)]
enum FrameOptions {
    #[serde(rename = "deny")]
    Deny,
    #[serde(rename = "sameorigin")]
    SameOrigin,
}

impl Headers {
    /// The headers, or the name of the one whose value is none.
    pub(super) fn list(self) -> Result<Vec<(HeaderName, HeaderValue)>, &'static str> {
        use hyper::header as h;
        let frame = self.x_frame_options.map(|options| match options {
            FrameOptions::Deny => "deny".to_owned(),
            FrameOptions::SameOrigin => "sameorigin".to_owned(),
        });
        let content_type =
            self.x_content_type_options.map(|ContentTypeOptions::NoSniff| "nosniff".to_owned());
        [
            (h::STRICT_TRANSPORT_SECURITY, "Strict-Transport-Security", self.strict_transport_security),
            (h::X_CONTENT_TYPE_OPTIONS, "X-Content-Type-Options", content_type),
            (h::X_FRAME_OPTIONS, "X-Frame-Options", frame),
            (h::X_XSS_PROTECTION, "X-XSS-Protection", self.x_xss_protection),
            (h::CONTENT_SECURITY_POLICY, "Content-Security-Policy", self.content_security_policy),
        ]
        .into_iter()
        .filter_map(|(name, text, value)| Some((name, text, value.filter(|v| !v.is_empty())?)))
        .map(|(name, text, value)| Ok((name, HeaderValue::try_from(value).map_err(|_| text)?)))
        .collect()
    }
}

/// `rate_limit`: of all requests, whoever asks.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateLimit {
    burst: u32,
    #[serde(deserialize_with = "interval")]
    interval: Duration,
}

impl RateLimit {
    /// The limit, if it is one.
    pub(super) fn rate(self) -> Option<Rate> {
        (!self.interval.is_zero()).then_some(Rate { burst: self.burst, interval: self.interval })
    }
}

/// A duration as Go writes it, or its nanoseconds.
fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Nanoseconds(u64),
        Text(String),
    }
    let known = match Written::deserialize(from) {
        Ok(Written::Nanoseconds(n)) => Some(Duration::from_nanos(n)),
        Ok(Written::Text(text)) => humantime::parse_duration(&text).ok(),
        Err(_) => None,
    };
    known.ok_or_else(|| D::Error::custom("expected a duration such as 1s"))
}

/// A password as bcrypt keeps it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash(pub(super) String);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // The message must not say what stands there: it may be the password itself.
        let good = text.parse::<bcrypt::HashParts>().is_ok_and(|parts| (4..=31).contains(&parts.get_cost()));
        let why = "not a bcrypt hash, such as `htpasswd -nBC 10 USER` prints behind the colon";
        if good { Ok(Self(text)) } else { Err(D::Error::custom(why)) }
    }
}

impl WebConfig {
    /// Reads the text of a file; `path` is for messages.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, WebError> {
        // Nothing but comments holds no document, and says nothing about anything.
        if text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---") {
            return Ok(Self::default());
        }
        serde_yaml::from_str(text).map_err(|e| {
            let e = e.without_snippet();
            let place = e.location().map(|l| (l.line(), l.column()));
            let line = e.to_string();
            let line = line.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            let rest =
                line.strip_prefix("line ").and_then(|l| l.split_once(": ")).map_or(line, |(_, rest)| rest);
            let why = rest.rsplit_once(" at line ").map_or(rest, |(rest, _)| rest);
            WebError { path: path.to_owned(), place, why: why.to_owned() }
        })
    }
}
