//! Bearer tokens: read from a file, compared in constant time, shown by nothing.

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderValue};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The largest token file that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// A bearer token from a file; it has no text form, so that no log can show it.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token file {}: {why}", path.display())]
pub struct TokenError {
    path: PathBuf,
    why: String,
}

impl Token {
    /// Reads the token; white space around it does not count.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let error = |why: String| TokenError { path: path.to_owned(), why };
        let text = std::fs::read(path).map_err(|e| error(e.to_string()))?;
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(error(
                "it is empty; put a long random text into it, such as `openssl rand -hex 32` prints".into(),
            ));
        }
        if token.len() > TOKEN_BYTES_MAX || token.iter().any(|b| !b.is_ascii_graphic()) {
            return Err(error(format!(
                "a token is at most {TOKEN_BYTES_MAX} printable ASCII characters without spaces"
            )));
        }
        Ok(Self(token.into()))
    }

    /// Whether the request carries this token; the comparison takes the same time for every wrong one.
    pub fn admits<B>(&self, request: &Request<B>) -> bool {
        let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let scheme = given.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"bearer "));
        let given = given.get(7..).unwrap_or_default().trim_ascii();
        scheme & bool::from(given.ct_eq(&self.0))
    }

    /// The value of an `Authorization` header with this token, marked as sensitive.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", &*self.0].concat()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_only_its_own_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let token = Token::from_file(&path).unwrap();
        let with = |value: &str| Request::builder().header(AUTHORIZATION, value).body(()).unwrap();
        assert!(token.admits(&with("Bearer s3cret")));
        assert!(token.admits(&with("bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "", "Bearer "] {
            assert!(!token.admits(&with(wrong)), "{wrong}");
        }
        assert!(!token.admits(&Request::new(())));
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn an_unusable_token_file_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, " \n").unwrap();
        assert!(Token::from_file(&path).unwrap_err().to_string().contains("openssl rand"));
        std::fs::write(&path, "two words").unwrap();
        assert!(Token::from_file(&path).is_err());
        assert!(Token::from_file(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
