//! A server that Headroom calls: its address, and who Headroom is to it.

use crate::client::trust::{Files, Trust};
use crate::client::{self, Call};
use crate::serve::token::Token;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a server may take.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The most that is read of a file with an address.
const URL_BYTES_MAX: u64 = 8 << 10;

/// A server that is called over HTTP. Its address may be a secret: a record has only what [`Endpoint::shown`] shows, and
/// no address can be read back from there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// The address,
    pub url: String,
    /// or the file with the address.
    pub url_file: Option<PathBuf>,
    /// The file with the bearer token that it wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The name that it wants, in place of a token,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// and the file with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The certificates of those who may have signed its own; the system's if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long it may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: String::new(),
            url_file: None,
            token_file: None,
            username: None,
            password_file: None,
            ca_file: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Endpoint {
    /// Whether it can be called; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.url_file, self.url.is_empty()) {
            (Some(_), true) => {}
            (Some(_), false) => return Err(("url_file", "`url` or `url_file`, and not both".into())),
            (None, _) => client::check(&self.url).map_err(|e| ("url", e.to_string()))?,
        }
        if self.username.is_some() != self.password_file.is_some() {
            return Err(("username", "`username` and `password_file` belong together".into()));
        }
        if self.username.is_some() && self.token_file.is_some() {
            return Err(("token_file", "a token, or a name with a password, and not both".into()));
        }
        if !(Duration::from_millis(1)..=TIMEOUT_MAX).contains(&self.timeout) {
            return Err(("timeout", "from 1ms to 1m".into()));
        }
        Ok(())
    }

    /// The files that it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.url_file, &mut self.token_file, &mut self.password_file, &mut self.ca_file]
            .into_iter()
            .flatten()
    }

    /// The address for messages and records, without what may be a secret.
    pub fn shown(&self) -> String {
        match &self.url_file {
            Some(file) => format!("the address in {}", file.display()),
            None => client::shown(&self.url),
        }
    }

    /// The address, which a file may have.
    fn address(&self) -> Result<String, String> {
        let Some(file) = &self.url_file else { return Ok(self.url.clone()) };
        let wrong =
            |why: &dyn std::fmt::Display| format!("cannot use the address in {}: {why}", file.display());
        let mut text = String::new();
        let opened = std::fs::File::open(file).map_err(|e| wrong(&e))?;
        opened.take(URL_BYTES_MAX).read_to_string(&mut text).map_err(|e| wrong(&e))?;
        let url = text.trim();
        client::check(url).map_err(|e| wrong(&e))?;
        Ok(url.to_owned())
    }

    /// A call of the address with `path` behind it.
    pub fn call(&self, path: &str) -> Result<Call, String> {
        let base = self.address()?;
        let url = if path.is_empty() { base } else { base.trim_end_matches('/').to_owned() + path };
        Ok(Call {
            authorization: self.authorization()?,
            trust: self.trust()?,
            deadline: self.timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..Call::get(url)
        })
    }

    /// Whom to trust, if another than the system's authorities was named.
    fn trust(&self) -> Result<Option<Trust>, String> {
        let Some(ca_file) = self.ca_file.clone() else { return Ok(None) };
        Trust::new(&Files { ca_file: Some(ca_file), ..Files::default() }).map(Some).map_err(|e| e.to_string())
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        if let Some(file) = &self.token_file {
            return Token::from_file(file).map(|t| t.header()).map_err(|e| e.to_string());
        }
        let (Some(name), Some(file)) = (&self.username, &self.password_file) else { return Ok(None) };
        let password = password(file)?;
        let login = BASE64_STANDARD.encode([name.as_bytes(), b":", &password].concat());
        let mut value = HeaderValue::from_str(&format!("Basic {login}")).map_err(|e| e.to_string())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.shown())
    }
}

/// A password without the line's end behind it.
fn password(file: &Path) -> Result<Vec<u8>, String> {
    let text =
        std::fs::read(file).map_err(|e| format!("cannot read the password in {}: {e}", file.display()))?;
    Ok(text.trim_ascii_end().to_vec())
}

/// Text as a part of an address.
pub fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_a_token_or_a_name_with_its_password() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "open sesame\n").unwrap();
        let with_name = Endpoint {
            url: "https://am/prefix/".into(),
            username: Some("headroom".into()),
            password_file: Some(file.clone()),
            ..Endpoint::default()
        };
        assert_eq!(with_name.check(), Ok(()));
        let call = with_name.call("/api/v2/alerts").unwrap();
        assert_eq!(call.url, "https://am/prefix/api/v2/alerts");
        assert_eq!(call.authorization.unwrap(), "Basic aGVhZHJvb206b3BlbiBzZXNhbWU=");
        std::fs::write(&file, "t0ken\n").unwrap();
        let with_token =
            Endpoint { url: "http://am/x/".into(), token_file: Some(file), ..Endpoint::default() };
        let call = with_token.call("").unwrap();
        assert_eq!(
            (call.url.as_str(), call.authorization.unwrap()),
            ("http://am/x/", "Bearer t0ken".parse().unwrap())
        );
        let wrong = |e: Endpoint| e.check().unwrap_err().0;
        assert_eq!(wrong(Endpoint::default()), "url");
        assert_eq!(wrong(Endpoint { url: "ftp://am".into(), ..with_token.clone() }), "url");
        assert_eq!(wrong(Endpoint { url_file: Some("u".into()), ..with_token.clone() }), "url_file");
        assert_eq!(wrong(Endpoint { username: Some("a".into()), ..with_token.clone() }), "username");
        assert_eq!(wrong(Endpoint { token_file: Some("t".into()), ..with_name }), "token_file");
        assert_eq!(wrong(Endpoint { timeout: Duration::from_hours(1), ..with_token }), "timeout");
    }

    #[test]
    fn an_address_may_stand_in_a_file_and_is_in_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("slack");
        let mut of_file = Endpoint { url_file: Some(file.clone()), ..Endpoint::default() };
        assert_eq!(of_file.check(), Ok(()));
        assert_eq!(of_file.files().count(), 1, "it may stand beside the configuration");
        for bad in ["", "slack.example/s3cret\n", "ftp://slack.example/s3cret"] {
            std::fs::write(&file, bad).unwrap();
            let why = of_file.call("").unwrap_err();
            assert!(why.contains("slack: ") && !why.contains("s3cret"), "{why}");
        }
        std::fs::write(&file, "https://slack.example/s3cret\n").unwrap();
        assert_eq!(of_file.call("").unwrap().url, "https://slack.example/s3cret");
        let in_open = Endpoint { url: "https://slack.example/s3cret".into(), ..Endpoint::default() };
        let record = serde_json::to_string(&[&of_file, &in_open]).unwrap();
        let want = format!("[\"the address in {}\",\"https://slack.example\"]", file.display());
        assert_eq!(record, want);
    }
}
