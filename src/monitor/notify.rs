//! Alerts told: to a real Alertmanager, or, where there is none, to the optimizer in Alertmanager's words.

use super::alerts::{Alert, State};
use crate::client::{Call, send_blocking};
use crate::promql::Labels;
use crate::serve::token::Token;
use hyper::Method;
use jiff::Timestamp;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The label that says that the optimizer is to act; the first route of this project's `alertmanager.yml`.
const ACTION: &str = "headroom_action";
/// An alert that goes on is told again after that, in milliseconds: to the optimizer as that route does, to Alertmanager as
/// Prometheus does.
const REPEAT_OPTIMIZER: i64 = 5 * 60 * 1000;
const REPEAT_ALERTMANAGER: i64 = 60 * 1000;
/// The time for one call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Alerts of one call to the optimizer, which takes no more.
const ALERTS_MAX: usize = 500;
/// After a start, rates want a minute of samples before it is known that a trouble is over, in milliseconds.
const GRACE: i64 = 2 * 60 * 1000;

/// Who is told.
#[derive(Clone, Debug)]
pub enum To {
    /// The optimizer's webhook, with the token in this file.
    Optimizer {
        /// Its address.
        address: SocketAddr,
        /// The file with the token.
        token_file: PathBuf,
    },
    /// Alertmanager's API, version 2.
    Alertmanager {
        /// Its address.
        address: SocketAddr,
    },
}

/// Counts of what was told, by who was told and result.
#[derive(Clone, Debug)]
pub(super) struct Counts(pub(super) IntCounterVec);

/// Tells alerts on a thread of its own, so that nobody who is slow holds up an evaluation.
pub(super) struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    newest: Mutex<Newest>,
    news: Condvar,
}

/// The newest state of all alerts; what is older and was not told yet is no news any more.
#[derive(Default)]
struct Newest {
    alerts: Option<(i64, Vec<Alert>)>,
    ends: bool,
}

/// An episode that somebody was told of, and not that it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    fired_at: i64,
    /// When it was told last.
    at: i64,
    /// Whether that was before this process began.
    #[serde(skip, default = "yes")]
    before: bool,
}

fn yes() -> bool {
    true
}

/// What is to be told: an episode, and when it ended if it did.
#[derive(Clone, Debug, PartialEq)]
struct News {
    told: Told,
    ended: Option<i64>,
}

/// Who is told, how often there is something to tell, and where it is kept.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    pub(super) to: To,
    /// Between two evaluations.
    pub(super) interval: Duration,
    /// The file with what is told and not over.
    pub(super) file: PathBuf,
}

impl Notifier {
    /// Starts the thread.
    pub(super) fn start(telling: Telling, now: i64, counts: Counts) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let told = restored(&telling.file);
        let mut teller = Teller { telling, counts, told, begun: now };
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("notify".into()).spawn(move || {
            while let Some((at, alerts)) = theirs.next() {
                teller.tell(at, &alerts);
            }
        })?;
        Ok(Self { shared })
    }

    /// The alerts as they are at a time.
    pub(super) fn take(&self, at: i64, alerts: Vec<Alert>) {
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).alerts = Some((at, alerts));
        self.shared.news.notify_one();
    }
}

/// What another process told and did not end. A file that cannot be read costs a second run of a trouble that goes on.
fn restored(file: &Path) -> HashMap<Labels, Told> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return HashMap::new(),
        Err(e) => {
            tracing::warn!(path = %file.display(), error = %e, "what was told before is not known");
            return HashMap::new();
        }
    };
    let all: Vec<Told> = serde_json::from_slice(&text).unwrap_or_else(|e| {
        tracing::warn!(path = %file.display(), error = %e, "what was told before is not known");
        Vec::new()
    });
    all.into_iter().map(|told| (Labels::new(told.labels.iter()), told)).collect()
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).ends = true;
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn next(&self) -> Option<(i64, Vec<Alert>)> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if newest.ends {
                return None;
            }
            if let Some(alerts) = newest.alerts.take() {
                return Some(alerts);
            }
            newest = self.news.wait(newest).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Teller {
    telling: Telling,
    counts: Counts,
    /// What goes on, as far as they know.
    told: HashMap<Labels, Told>,
    begun: i64,
}

impl Teller {
    fn tell(&mut self, at: i64, alerts: &[Alert]) {
        let (news, name) = (self.news(at, alerts), self.telling.to.name());
        for part in news.chunks(ALERTS_MAX) {
            let result = self.send(at, part);
            self.counts.0.with_label_values(&[name, if result.is_ok() { "ok" } else { "failed" }]).inc();
            if let Err(why) = result {
                // The next evaluation tries again.
                tracing::warn!(to = name, alerts = part.len(), error = why, "alerts could not be told");
                continue;
            }
            for one in part {
                let labels = Labels::new(one.told.labels.iter());
                match one.ended {
                    Some(_) => drop(self.told.remove(&labels)),
                    None => drop(self.told.insert(labels, one.told.clone())),
                }
            }
            self.keep();
        }
    }

    /// What is to be told now. Ends come first: what fires anew has ended before.
    fn news(&self, at: i64, alerts: &[Alert]) -> Vec<News> {
        let (repeat, all) = match self.telling.to {
            To::Optimizer { .. } => (REPEAT_OPTIMIZER, false),
            To::Alertmanager { .. } => (REPEAT_ALERTMANAGER, true),
        };
        let concerns = |alert: &&Alert| all || !alert.labels.get(ACTION).is_empty();
        let firing: HashMap<&Labels, (&Alert, i64)> = alerts
            .iter()
            .filter(|alert| alert.state == State::Firing)
            .filter(concerns)
            .filter_map(|alert| Some((&alert.labels, (alert, alert.fired_at?))))
            .collect();
        let mut out = Vec::new();
        for (labels, told) in &self.told {
            // A trouble from before this process began is the same one, if it is still there once enough is known.
            let goes_on = match firing.get(labels) {
                Some((_, fired_at)) => told.before || *fired_at == told.fired_at,
                None => told.before && at - self.begun < GRACE,
            };
            if !goes_on {
                let known = alerts.iter().find(|alert| alert.labels == *labels);
                let ended = known.and_then(|alert| alert.resolved_at).unwrap_or(at);
                out.push(News { told: told.clone(), ended: Some(ended) });
            }
        }
        for (labels, (alert, fired_at)) in firing {
            let known = self.told.get(labels).filter(|told| told.before || told.fired_at == fired_at);
            if known.is_some_and(|told| at - told.at < repeat) {
                continue;
            }
            let told = Told {
                labels: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                annotations: alert.annotations.clone(),
                fired_at: known.map_or(fired_at, |told| told.fired_at),
                at,
                before: known.is_some_and(|told| told.before),
            };
            out.push(News { told, ended: None });
        }
        out
    }

    /// Writes down what is told and not over.
    fn keep(&self) {
        let file = &self.telling.file;
        let all: Vec<&Told> = self.told.values().collect();
        let written = serde_json::to_vec(&all).map_err(std::io::Error::from).and_then(|text| {
            // Whole under another name first: a crash leaves the one or the other.
            let whole = file.with_extension("new");
            std::fs::write(&whole, text)?;
            std::fs::rename(&whole, file)
        });
        if let Err(e) = written {
            tracing::warn!(path = %file.display(), error = %e, "what was told cannot be kept over a restart");
        }
    }

    fn send(&self, at: i64, part: &[News]) -> Result<(), String> {
        let (address, path, authorization) = match &self.telling.to {
            To::Optimizer { address, token_file } => {
                let token = Token::from_file(token_file).map_err(|e| e.to_string())?;
                (address, "/api/v1/alerts", token.header())
            }
            To::Alertmanager { address } => (address, "/api/v2/alerts", None),
        };
        let body = match &self.telling.to {
            To::Optimizer { .. } => notification(part),
            To::Alertmanager { .. } => self.alerts(at, part),
        };
        let mut call = Call::get(format!("http://{address}{path}"));
        (call.method, call.body, call.authorization) =
            (Method::POST, Some(body.to_string().into_bytes()), authorization);
        call.deadline = DEADLINE;
        let (status, answer) = send_blocking(call).map_err(|e| e.to_string())?;
        if status.is_success() {
            return Ok(());
        }
        let answer: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
        Err(format!("{status}: {}", answer.trim_end()))
    }

    /// As Prometheus tells Alertmanager: what fires is over by itself if it is not told again in time.
    fn alerts(&self, at: i64, part: &[News]) -> Value {
        let interval = i64::try_from(self.telling.interval.as_millis()).unwrap_or(REPEAT_ALERTMANAGER);
        let valid = at + 4 * interval.max(REPEAT_ALERTMANAGER);
        let one = |news: &News| {
            json!({
                "labels": news.told.labels,
                "annotations": news.told.annotations,
                "startsAt": time(news.told.fired_at),
                "endsAt": time(news.ended.unwrap_or(valid)),
            })
        };
        part.iter().map(one).collect()
    }
}

impl To {
    /// As metrics call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Optimizer { .. } => "optimizer",
            Self::Alertmanager { .. } => "alertmanager",
        }
    }
}

/// Alertmanager's webhook, version 4.
fn notification(part: &[News]) -> Value {
    let status = |is_over: bool| if is_over { "resolved" } else { "firing" };
    let one = |news: &News| {
        json!({
            "status": status(news.ended.is_some()),
            "labels": news.told.labels,
            "annotations": news.told.annotations,
            "startsAt": time(news.told.fired_at),
            "endsAt": news.ended.map_or_else(|| "0001-01-01T00:00:00Z".into(), time),
            "generatorURL": "",
            "fingerprint": format!("{:016x}", fingerprint(&news.told.labels)),
        })
    };
    json!({
        "version": "4",
        "groupKey": "headroom",
        "truncatedAlerts": 0,
        "status": status(part.iter().all(|news| news.ended.is_some())),
        "receiver": "headroom-optimizer",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": part.iter().map(one).collect::<Vec<Value>>(),
    })
}

fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
}

/// The number by which Alertmanager knows an alert: FNV-1a over its labels.
/// Source: `LabelSet.Fingerprint` of prometheus/common.
fn fingerprint(labels: &BTreeMap<String, String>) -> u64 {
    let bytes =
        labels.iter().flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(action: &str, state: State, fired_at: Option<i64>) -> Alert {
        Alert {
            labels: Labels::new([("alertname", "A"), (ACTION, action)]),
            annotations: BTreeMap::new(),
            value: 1.0,
            state,
            active_at: 0,
            fired_at,
            resolved_at: (state == State::Inactive).then_some(9),
            kept_since: None,
        }
    }

    fn teller(to: To, file: &Path) -> Teller {
        let opts = prometheus::Opts::new("n", "N.");
        let counts = Counts(IntCounterVec::new(opts, &["to", "result"]).unwrap());
        let telling = Telling { to, interval: Duration::from_secs(5), file: file.to_owned() };
        Teller { told: restored(file), telling, counts, begun: 0 }
    }

    fn optimizer() -> To {
        To::Optimizer { address: nowhere(), token_file: PathBuf::new() }
    }

    fn nowhere() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    /// What is news, as beginnings and ends; it is taken as told.
    fn told(teller: &mut Teller, at: i64, alerts: &[Alert]) -> Vec<(i64, Option<i64>)> {
        let news = teller.news(at, alerts);
        for one in &news {
            let labels = Labels::new(one.told.labels.iter());
            match one.ended {
                Some(_) => drop(teller.told.remove(&labels)),
                None => drop(teller.told.insert(labels, one.told.clone())),
            }
        }
        teller.keep();
        news.iter().map(|one| (one.told.fired_at, one.ended)).collect()
    }

    #[test]
    fn each_firing_is_told_once_and_then_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut teller = teller(optimizer(), &dir.path().join("told"));
        let firing = |at| alert("reclaim", State::Firing, Some(at));
        assert_eq!(
            told(&mut teller, 5, &[alert("", State::Firing, Some(5))]),
            [],
            "nothing for the optimizer"
        );
        assert_eq!(told(&mut teller, 5, &[alert("reclaim", State::Pending, None)]), []);
        assert_eq!(told(&mut teller, 5, &[alert("reclaim", State::Inactive, Some(5))]), [], "never told");
        assert_eq!(told(&mut teller, 5, &[firing(5)]), [(5, None)]);
        assert_eq!(told(&mut teller, 6, &[firing(5)]), []);
        assert_eq!(told(&mut teller, 5 + REPEAT_OPTIMIZER, &[firing(5)]), [(5, None)]);
        assert_eq!(told(&mut teller, 9, &[alert("reclaim", State::Inactive, Some(5))]), [(5, Some(9))]);
        assert_eq!(told(&mut teller, 10, &[alert("reclaim", State::Inactive, Some(5))]), []);
        assert_eq!(told(&mut teller, 20, &[firing(20)]), [(20, None)], "it fires anew");
        // The end was not heard before it fired once more, or was pending and went.
        assert_eq!(told(&mut teller, 30, &[firing(30)]), [(20, Some(30)), (30, None)]);
        assert_eq!(told(&mut teller, 40, &[]), [(30, Some(40))]);
    }

    #[test]
    fn a_trouble_that_outlives_this_process_is_one_and_ends_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("told");
        told(&mut teller(optimizer(), &file), 5, &[alert("reclaim", State::Firing, Some(5))]);
        let mut next = teller(optimizer(), &file);
        assert_eq!(
            told(&mut next, 30, &[alert("reclaim", State::Pending, None)]),
            [],
            "nothing is known yet"
        );
        assert_eq!(told(&mut next, 60, &[alert("reclaim", State::Firing, Some(60))]), [], "the same");
        let later = 60 + REPEAT_OPTIMIZER;
        assert_eq!(told(&mut next, later, &[alert("reclaim", State::Firing, Some(60))]), [(5, None)]);
        let mut third = teller(optimizer(), &file);
        assert_eq!(told(&mut third, GRACE, &[]), [(5, Some(GRACE))], "it ended meanwhile");
        std::fs::write(&file, "no JSON").unwrap();
        assert!(teller(optimizer(), &file).told.is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_told_by_the_next_evaluation() {
        let dir = tempfile::tempdir().unwrap();
        let mut teller = teller(To::Alertmanager { address: nowhere() }, &dir.path().join("told"));
        let all = [alert("", State::Firing, Some(5))];
        teller.tell(5, &all);
        assert_eq!(teller.counts.0.with_label_values(&["alertmanager", "failed"]).get(), 1);
        assert!(teller.told.is_empty() && teller.news(6, &all).len() == 1);
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        // A real Alertmanager said so of these.
        let of = labels(&[("alertname", "A"), ("instance", "web1:9177")]);
        assert_eq!(format!("{:016x}", fingerprint(&of)), "0a0824e67344adab");
        assert_eq!(fingerprint(&labels(&[])), 0xcbf2_9ce4_8422_2325);
    }
}
