//! Who may come in: the limit of all requests, users and their passwords, and what being wrong costs.

use super::Answer;
use super::attempts::{Attempts, Bucket, Rate, Source};
use super::metrics::Metrics;
use super::users::{Digest, Given, Passwords, Question};
use super::web::{Change, Loaded, Web};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The `handler` label of answers that are given at the door.
const NAME: &str = "door";

/// The door of one listener.
pub(super) struct Door {
    name: &'static str,
    metrics: Metrics,
    /// Users are asked only with a web configuration; so nothing of theirs is made without one.
    web: Option<(Web, Passwords)>,
    attempts: Mutex<Attempts>,
    rate: Mutex<(Option<Rate>, Bucket)>,
}

/// A connection, and who is on it.
pub(super) struct Visit {
    source: Source,
    /// Who was let in last: whoever else is wrong at the same address does not shut them out.
    known: Mutex<Option<Digest>>,
}

impl Visit {
    pub(super) fn new(source: IpAddr) -> Self {
        Self { source: source.into(), known: Mutex::default() }
    }
}

/// How a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// With this user's password.
    User(String),
    /// Nobody asked.
    Anyone,
}

impl Door {
    pub(super) fn new(name: &'static str, metrics: Metrics, web: Option<Web>) -> Result<Self, &'static str> {
        if web.is_some() {
            metrics.show_web(name);
        }
        let web = match web {
            Some(web) => Some((web, Passwords::new()?)),
            None => None,
        };
        Ok(Self { name, metrics, web, attempts: Mutex::default(), rate: Mutex::default() })
    }

    /// What the web configuration asks for now.
    pub(super) fn loaded(&self) -> Option<Arc<Loaded>> {
        let (web, _) = self.web.as_ref()?;
        let good = match web.refresh() {
            Change::None => return Some(web.now()),
            Change::Used => {
                tracing::info!(listener = self.name, path = %web.path().display(), "the web configuration was read again and is in use");
                1
            }
            Change::Refused(e) => {
                tracing::error!(listener = self.name, error = %e, "the new web configuration is not used; the old one stays");
                0
            }
        };
        self.metrics.config_good.with_label_values(&[self.name]).set(good);
        Some(web.now())
    }

    /// What it asked for when it was last looked at.
    pub(super) fn in_use(&self) -> Option<Arc<Loaded>> {
        self.web.as_ref().map(|(web, _)| web.now())
    }

    /// Lets a request in, or says why not. `own` says that the pages look
    /// themselves who sent it.
    pub(super) async fn admit(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        own: bool,
    ) -> Result<Admitted, Answer> {
        let Some((loaded, (_, passwords))) = self.loaded().zip(self.web.as_ref()) else {
            return Ok(Admitted::Anyone);
        };
        if let Some(wait) = loaded.rate.and_then(|rate| self.over(rate)) {
            return Err(too_many("too many requests (rate_limit)", wait));
        }
        if loaded.users.is_empty() || own {
            return Ok(Admitted::Anyone);
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Err(self.unknown("missing"));
        };
        let question =
            Given::read(header.as_bytes()).and_then(|given| passwords.question(&loaded.users, given));
        let Some(question) = question else {
            self.note_wrong(visit);
            return Err(self.unknown("malformed"));
        };
        let (digest, user) = (question.digest, question.user());
        if *lock(&visit.known) != Some(digest) {
            self.ask(visit, passwords, question).await?;
            *lock(&visit.known) = Some(digest);
        }
        Ok(Admitted::User(user))
    }

    /// Looks at credentials that did not come in on this connection before.
    async fn ask(&self, visit: &Visit, passwords: &Passwords, question: Question) -> Result<(), Answer> {
        self.not_limited(visit)?;
        if passwords.is_verified(&question) {
            return Ok(());
        }
        let Some(turn) = passwords.turn().await else {
            self.count("busy");
            return Err(Answer::unavailable(NAME, "too many passwords are being looked at"));
        };
        // Those before may have been the same, or wrong once too often.
        if passwords.is_verified(&question) {
            return Ok(());
        }
        self.not_limited(visit)?;
        if let Some(wait) = lock(&self.attempts).all_limited(Instant::now()) {
            self.count("limited");
            return Err(too_many("too many wrong passwords", wait));
        }
        if passwords.verify(question, turn).await {
            return Ok(());
        }
        self.note_wrong(visit);
        Err(self.unknown("wrong"))
    }

    /// Counts a page's own refusal, and makes it shorter for who was refused too often. The right secret is never
    /// refused for the wrong ones of others: it is long, so nobody finds it by trying.
    pub(super) fn after(&self, visit: &Visit, tried: bool, answer: Answer) -> Answer {
        let answer = self.after_user(answer);
        if answer.status != StatusCode::UNAUTHORIZED {
            return answer;
        }
        if !tried {
            self.count("missing");
            return answer;
        }
        if let Err(limited) = self.not_limited(visit) {
            return Answer { handler: answer.handler, ..limited };
        }
        self.note_wrong(visit);
        self.count("wrong");
        answer
    }

    /// Counts that a page refuses a user, whose password was right.
    pub(super) fn after_user(&self, answer: Answer) -> Answer {
        if answer.forbids {
            self.count("forbidden");
        }
        answer
    }

    fn not_limited(&self, visit: &Visit) -> Result<(), Answer> {
        let Some(wait) = lock(&self.attempts).limited(visit.source, Instant::now()) else { return Ok(()) };
        self.count("limited");
        Err(too_many("too many wrong passwords or tokens from this address", wait))
    }

    fn over(&self, rate: Rate) -> Option<Duration> {
        let (mut state, now) = (lock(&self.rate), Instant::now());
        if state.0 != Some(rate) {
            *state = (Some(rate), Bucket::default());
        }
        let wait = state.1.empty(rate, now);
        if wait.is_none() {
            state.1.take(rate, now);
        }
        wait
    }

    fn note_wrong(&self, visit: &Visit) {
        lock(&self.attempts).wrong(visit.source, Instant::now());
    }

    fn unknown(&self, reason: &'static str) -> Answer {
        self.count(reason);
        Answer::text(NAME, StatusCode::UNAUTHORIZED, "a user and a password are needed, or these are wrong")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Headroom\", charset=\"UTF-8\""))
    }

    fn count(&self, reason: &'static str) {
        self.metrics.auth_failures.with_label_values(&[self.name, reason]).inc();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many(why: &'static str, wait: Duration) -> Answer {
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    Answer::text(NAME, StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, seconds)
}
