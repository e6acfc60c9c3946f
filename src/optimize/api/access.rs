//! Who may do what at the optimizer's pages: by a token, and where the configuration says so as a user or by a certificate.

use super::Api;
use crate::serve::token::Token;
use crate::serve::{Answer, Caller};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use std::sync::PoisonError;

/// The page at which the configuration is read again.
pub(super) const RELOAD: &str = "/-/reload";

/// Who may call the pages.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Opens all pages.
    pub write: Token,
    /// Opens those that change nothing; without it, only the other one does.
    pub read: Option<Token>,
    /// Who may do without a token what the first one opens,
    pub writers: Callers,
    /// and what the second one opens.
    pub readers: Callers,
}

/// Users and certificates. Nobody, unless they are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callers {
    /// Users of the web configuration, with their passwords.
    pub users: Vec<String>,
    /// Names in certificates of clients, of which one is enough; they count only where the web configuration has them
    /// verified.
    pub sans: Vec<String>,
}

impl Callers {
    /// Whether nobody is among them.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.sans.is_empty()
    }

    fn has(&self, caller: &Caller) -> bool {
        let user = caller.user.as_ref().is_some_and(|user| self.users.contains(user));
        user || caller.sans.iter().any(|name| self.sans.contains(name))
    }
}

/// What a page does, and its caller has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    Read,
    Write,
}

/// A right, and whether it is a token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    right: Right,
    by_token: bool,
}

impl Tokens {
    /// What the request's token allows, or else its user and its certificate.
    fn known<B>(&self, request: &Request<B>) -> Option<Known> {
        // Both are compared, whichever it is.
        let (write, read) =
            (self.write.admits(request), self.read.as_ref().is_some_and(|t| t.admits(request)));
        let right = |write, read: bool| if write { Some(Right::Write) } else { read.then_some(Right::Read) };
        if let Some(right) = right(write, read) {
            return Some(Known { right, by_token: true });
        }
        let caller = request.extensions().get::<Caller>()?;
        let right = right(self.writers.has(caller), self.readers.has(caller))?;
        Some(Known { right, by_token: false })
    }

    /// Whether the page looks itself who sends this, and no user and password are asked besides. Webhook and record ask for
    /// the token by themselves, and it opens the other pages too; the one for reading only those that change nothing. Where
    /// users may do without a token, a password is looked at before the page.
    fn look_themselves<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        let users = !self.writers.users.is_empty() || !self.readers.users.is_empty();
        match self.known(request) {
            Some(known) => path != RELOAD || known == Known { right: Right::Write, by_token: true },
            None => path.starts_with("/api/") && !(users && is_basic(request)),
        }
    }

    /// The refusal of a request without the right that the page wants.
    fn refusal<B>(&self, name: &'static str, request: &Request<B>, wants: Right) -> Option<Answer> {
        let is_user = || request.extensions().get::<Caller>().is_some_and(|c| c.user.is_some());
        match self.known(request) {
            None if is_user() => Some(Answer::forbidden(name)),
            None => Some(Answer::unauthorized(name)),
            Some(known) if known.right < wants => Some(Answer::forbidden(name)),
            // A browser shows certificates and known passwords for any page that sends it here; but JSON it sends to a
            // stranger only if that one agrees, which nothing here does. A token it does not have.
            Some(known) if !known.by_token && request.method() == Method::POST && !is_json(request) => {
                let why = "without a token, the request wants `Content-Type: application/json`";
                Some(Answer::text(name, StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
            }
            Some(_) => None,
        }
    }
}

impl Api {
    /// Whether the pages see to it who sent this request.
    pub(super) fn looks_itself<B>(&self, request: &Request<B>) -> bool {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).look_themselves(request)
    }

    /// The refusal of a request without the right that the page wants.
    pub(super) fn refusal<B>(
        &self,
        name: &'static str,
        request: &Request<B>,
        wants: Right,
    ) -> Option<Answer> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).refusal(name, request, wants)
    }
}

fn is_basic<B>(request: &Request<B>) -> bool {
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    given.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

fn is_json<B>(request: &Request<B>) -> bool {
    let given = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let dir = tempfile::tempdir().unwrap();
        let token = |text: &str| {
            std::fs::write(dir.path().join(text), text).unwrap();
            Token::from_file(&dir.path().join(text)).unwrap()
        };
        let callers = |user: &str, san: &str| Callers { users: vec![user.into()], sans: vec![san.into()] };
        let (writers, readers) = (callers("am", "am.example"), callers("grafana", "grafana.example"));
        Tokens { write: token("write"), read: Some(token("read")), writers, readers }
    }

    /// A request with this caller, this kind of body and this `Authorization`.
    fn request(caller: Option<(Option<&str>, &[&str])>, kind: &str, authorization: &str) -> Request<()> {
        let mut request = Request::builder()
            .method("POST")
            .uri("/api/v1/alerts")
            .header(CONTENT_TYPE, kind)
            .header(AUTHORIZATION, authorization)
            .body(())
            .unwrap();
        if let Some((user, sans)) = caller {
            let sans = sans.iter().map(|&n| n.to_owned()).collect();
            request.extensions_mut().insert(Caller { user: user.map(Into::into), sans });
        }
        request
    }

    #[test]
    fn each_caller_has_the_right_that_the_lists_give_and_a_token_comes_first() {
        let json = "application/json; charset=utf-8";
        for (caller, kind, authorization, write, read) in [
            (None, json, "", 401, 401),
            (None, "text/plain", "Bearer write", 0, 0),
            (None, json, "Bearer read", 403, 0),
            (Some((Some("am"), &[][..])), json, "Basic x", 0, 0),
            (Some((Some("am"), &[])), "text/plain", "Basic x", 415, 415),
            (Some((Some("grafana"), &[])), json, "Basic x", 403, 0),
            (Some((Some("ann"), &[])), json, "Basic x", 403, 403),
            (Some((None, &["x.example", "am.example"])), json, "", 0, 0),
            (Some((None, &["grafana.example"])), json, "", 403, 0),
            (Some((None, &["x.example"])), json, "", 401, 401),
            // A certificate's name is no user's, nor the other way round.
            (Some((None, &["am"])), json, "", 401, 401),
            (Some((Some("am.example"), &[])), json, "Basic x", 403, 403),
            (Some((None, &["am.example"])), "text/plain", "", 415, 415),
            (Some((None, &["grafana.example"])), "text/plain", "Bearer write", 0, 0),
        ] {
            let request = request(caller, kind, authorization);
            let status = |wants| tokens().refusal("x", &request, wants).map_or(0, |a| a.status.as_u16());
            assert_eq!(
                (status(Right::Write), status(Right::Read)),
                (write, read),
                "{caller:?} {kind} {authorization}"
            );
        }
        let mut nobody = tokens();
        (nobody.writers, nobody.readers) = (Callers::default(), Callers::default());
        let caller = request(Some((Some("am"), &["am.example"])), json, "");
        assert_eq!(nobody.refusal("x", &caller, Right::Read).unwrap().status, 403, "unless they are named");
    }

    #[test]
    fn a_password_is_looked_at_before_the_page_only_where_users_need_no_token() {
        let mut tokens = tokens();
        let basic = request(None, "", "basic x");
        assert!(!tokens.look_themselves(&basic));
        for header in ["Bearer write", "Bearer wrong", ""] {
            assert!(tokens.look_themselves(&request(None, "", header)), "{header}");
        }
        (tokens.writers.users, tokens.readers.users) = (vec![], vec![]);
        assert!(tokens.look_themselves(&basic));
        let reload = |caller, header: &str| {
            let mut request = request(caller, "", header);
            *request.uri_mut() = RELOAD.parse().unwrap();
            tokens.look_themselves(&request)
        };
        assert!(reload(None, "Bearer write"));
        assert!(!reload(None, "Bearer read") && !reload(Some((None, &["am.example"])), ""));
    }
}
