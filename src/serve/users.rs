//! Users and passwords: bcrypt off the runtime's thread, one at a time, and what was right before not again.

use super::web_config::Hash;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Credentials that are remembered as right.
const VERIFIED_MAX: usize = 100;
/// Requests that may wait for their passwords to be looked at.
const WAITING_MAX: usize = 16;
/// The longest user with password that is looked at, in bytes; bcrypt itself takes 72 of a password.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Who may come in, with their passwords' hashes.
pub(super) type Users = BTreeMap<String, Hash>;

/// A user and a password as they were given.
pub(super) struct Given {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Given {
    /// Reads the value of an `Authorization` header.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        const CONFIG: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
        let (scheme, rest) = header.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") || rest.len() > CREDENTIALS_BYTES_MAX {
            return None;
        }
        let both = BASE64.decode(rest.trim_ascii()).ok()?;
        let colon = both.iter().position(|&byte| byte == b':')?;
        let (user, password) = both.split_at_checked(colon)?;
        Some(Self { user: user.to_vec(), password: password.get(1..)?.to_vec() })
    }
}

/// Credentials that were right, under a key that only this process has.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What is to be found out about a request's credentials.
pub(super) struct Question {
    given: Given,
    /// The hash to compare with. For an unknown user it is that of another one, always the same, whose work takes as long.
    hash: Hash,
    known: bool,
    /// What the answer is remembered under.
    pub(super) digest: Digest,
}

impl Question {
    /// The user, as the request has it.
    pub(super) fn user(&self) -> String {
        String::from_utf8_lossy(&self.given.user).into_owned()
    }
}

/// Looks at passwords.
pub(super) struct Passwords {
    key: hmac::Key,
    verified: Mutex<VecDeque<Digest>>,
    waiting: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place among those who wait, and then the turn.
pub(super) struct Turn {
    _waiting: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Passwords {
    /// Begins with nobody known; an error means that the system has no random numbers.
    pub(super) fn new() -> Result<Self, &'static str> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers")?;
        Ok(Self {
            key,
            verified: Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            turn: Arc::new(Semaphore::new(1)),
        })
    }

    /// What is to be found out; none if there are no users.
    pub(super) fn question(&self, users: &Users, given: Given) -> Option<Question> {
        let name = std::str::from_utf8(&given.user).ok();
        let known = name.and_then(|name| users.get(name));
        let stranger = hmac::sign(&self.key, &given.user);
        let lot = stranger.as_ref().first().map_or(0, |&byte| usize::from(byte)) % users.len().max(1);
        let hash = known.or_else(|| users.values().nth(lot))?.clone();
        let mut context = hmac::Context::with_key(&self.key);
        for part in [&given.user[..], hash.0.as_bytes(), &given.password[..]] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = Digest(context.sign().as_ref().try_into().ok()?);
        Some(Question { hash, known: known.is_some(), digest, given })
    }

    /// Whether these credentials were right before.
    pub(super) fn is_verified(&self, question: &Question) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        question.known & verified.contains(&question.digest)
    }

    /// Waits for the turn to look at a password; none if too many wait already.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        Some(Turn { _waiting: waiting, _turn: turn })
    }

    /// Looks at a password, and remembers it if it is right.
    pub(super) async fn verify(&self, question: Question, turn: Turn) -> bool {
        let digest = question.digest;
        let looked = tokio::task::spawn_blocking(move || {
            // The turn lasts as long as the work, even if nobody waits for it any more.
            let _turn = turn;
            let Question { given, hash, known, .. } = question;
            bcrypt::verify(given.password, &hash.0).unwrap_or(false) & known
        });
        let right = looked.await.unwrap_or(false);
        if right {
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            verified.truncate(VERIFIED_MAX - 1);
            verified.push_front(digest);
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Option<Given> {
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        Given::read(format!("Basic {text}").as_bytes())
    }

    fn users(all: &[(&str, &str)]) -> Users {
        all.iter()
            .map(|(name, password)| ((*name).to_owned(), Hash(bcrypt::hash(password, 4).unwrap())))
            .collect()
    }

    async fn right(passwords: &Passwords, users: &Users, text: &str) -> bool {
        let question = passwords.question(users, given(text).unwrap()).unwrap();
        let turn = passwords.turn().await.unwrap();
        passwords.verify(question, turn).await
    }

    #[tokio::test]
    async fn only_the_own_password_opens_and_is_remembered() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("ann", "s3cret"), ("bob", "other:x")]));
        let question = |text: &str| passwords.question(&users, given(text).unwrap()).unwrap();
        assert!(!passwords.is_verified(&question("ann:s3cret")));
        assert!(right(&passwords, &users, "ann:s3cret").await);
        assert!(passwords.is_verified(&question("ann:s3cret")));
        assert!(right(&passwords, &users, "bob:other:x").await, "a password may hold a colon");
        // The password of whoever is asked for in place of an unknown user opens nothing either.
        for wrong in [
            "ann:s3cre",
            "ann:",
            "ann:other:x",
            "eve:s3cret",
            "eve:other:x",
            "ANN:s3cret",
            ":",
            "ann\0:s3cret",
        ] {
            assert!(!right(&passwords, &users, wrong).await, "{wrong}");
            assert!(!passwords.is_verified(&question(wrong)), "{wrong}");
        }
        let mut changed = users.clone();
        changed.insert("ann".into(), Hash(bcrypt::hash("new", 4).unwrap()));
        let question = passwords.question(&changed, given("ann:s3cret").unwrap()).unwrap();
        assert!(!passwords.is_verified(&question), "a changed password is asked for anew");
    }

    #[tokio::test]
    async fn what_is_remembered_and_who_waits_is_bounded() {
        let passwords = Passwords::new().unwrap();
        let many: Vec<String> = (0..VERIFIED_MAX + 5).map(|n| format!("u{n}")).collect();
        let all: Users =
            many.iter().map(|name| (name.clone(), Hash(bcrypt::hash("x", 4).unwrap()))).collect();
        for name in &many {
            assert!(right(&passwords, &all, &format!("{name}:x")).await);
        }
        assert_eq!(passwords.verified.lock().unwrap().len(), VERIFIED_MAX);
        let _first = passwords.turn().await.unwrap();
        let waiting: Vec<_> = (1..WAITING_MAX).map(|_| Box::pin(passwords.turn())).collect();
        let mut waiting: Vec<_> = waiting.into_iter().map(tokio_test_poll).collect();
        assert!(passwords.turn().await.is_none(), "one more than may wait");
        waiting.clear();
    }

    /// Polls a future once, so that it takes its place.
    fn tokio_test_poll<F: Future + Unpin>(mut future: F) -> F {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut future).poll(&mut context).is_pending());
        future
    }

    #[test]
    fn what_is_no_user_with_a_password_is_none() {
        assert!(given("a:b").is_some() && given(":").is_some());
        assert!(given("ab").is_none(), "without a colon");
        for header in ["", "Basic", "Basic ", "Bearer YTpi", "Basic !!!", "basic\u{e9}YTpi"] {
            assert!(Given::read(header.as_bytes()).is_none(), "{header}");
        }
        assert!(Given::read(b"bAsIc YTpi").is_some());
        assert!(given(&format!("a:{}", "b".repeat(CREDENTIALS_BYTES_MAX))).is_none());
    }
}
