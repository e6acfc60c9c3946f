//! The token that a request must carry: given or in a file, compared in constant time, shown by nothing.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use std::io::Read;
use std::path::PathBuf;
use subtle::ConstantTimeEq;

/// The most that is read of a token's file.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in it, or what no header can have.
    #[error(
        "the token is empty or has white space in it; a long random text is wanted, such as `openssl rand -hex 32` prints"
    )]
    Unusable,
}

/// Where the token is.
#[derive(Clone)]
pub(super) enum Token {
    /// Nobody is asked for one.
    None,
    Given(String),
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token that is wanted now.
    pub(super) fn wanted(&self) -> Result<Option<Vec<u8>>, TokenError> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Given(token) => token.clone().into_bytes(),
            Self::File(path) => {
                let read = |source| TokenError::Read { path: path.clone(), source };
                let file = std::fs::File::open(path).map_err(read)?;
                let mut text = Vec::new();
                file.take(TOKEN_BYTES_MAX).read_to_end(&mut text).map_err(read)?;
                text
            }
        };
        let token = text.trim_ascii();
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Unusable);
        }
        Ok(Some(token.to_vec()))
    }

    /// Whether a request's headers have it. The comparison takes the same time for every wrong one.
    pub(super) fn admits(&self, headers: &HeaderMap) -> Result<bool, TokenError> {
        let Some(wanted) = self.wanted()? else { return Ok(true) };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let scheme = given.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        let given = given.get(7..).unwrap_or_default().trim_ascii();
        Ok(scheme & bool::from(given.ct_eq(&wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_its_own_text_alone_and_a_file_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let with =
            |value: &str| HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        for token in [Token::Given("s3cret".into()), Token::File(path.clone())] {
            assert!(token.admits(&with("Bearer s3cret")).unwrap());
            assert!(token.admits(&with("bearer  s3cret ")).unwrap());
            for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer", "Basic s3cret", "s3cret", ""] {
                assert!(!token.admits(&with(wrong)).unwrap(), "{wrong}");
            }
            assert!(!token.admits(&HeaderMap::new()).unwrap());
            assert!(!format!("{token:?}").contains("s3cret"));
        }
        std::fs::write(&path, "another\n").unwrap();
        assert!(Token::File(path.clone()).admits(&with("Bearer another")).unwrap());
        std::fs::write(&path, "\n").unwrap();
        assert!(Token::File(path).admits(&with("Bearer ")).is_err());
        assert!(Token::Given("two words".into()).wanted().is_err());
        assert!(Token::None.admits(&HeaderMap::new()).unwrap());
    }
}
