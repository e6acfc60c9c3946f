//! Alerts told: to a real Alertmanager, or, where there is none, to the optimizer in Alertmanager's words.

use super::alerts::{Alert, State};
use crate::client::{Call, send_blocking};
use crate::promql::Labels;
use crate::serve::token::Token;
use hyper::Method;
use jiff::Timestamp;
use prometheus::IntCounterVec;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
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

/// What was told of an alert.
#[derive(Clone, Copy, PartialEq)]
struct Told {
    fired_at: i64,
    is_over: bool,
    at: i64,
}

impl Notifier {
    /// Starts the thread; `interval` is the time between two evaluations.
    pub(super) fn start(to: To, interval: Duration, counts: Counts) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut teller = Teller { to, interval, counts, told: HashMap::new() };
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
    to: To,
    interval: Duration,
    counts: Counts,
    told: HashMap<Labels, Told>,
}

impl Teller {
    fn tell(&mut self, at: i64, alerts: &[Alert]) {
        let news: Vec<(&Alert, Told)> =
            alerts.iter().filter_map(|alert| Some((alert, self.news(alert, at)?))).collect();
        let known: std::collections::HashSet<&Labels> = alerts.iter().map(|alert| &alert.labels).collect();
        self.told.retain(|labels, _| known.contains(labels));
        for part in news.chunks(ALERTS_MAX) {
            let result = self.send(at, part);
            self.counts
                .0
                .with_label_values(&[self.to.name(), if result.is_ok() { "ok" } else { "failed" }])
                .inc();
            match result {
                Ok(()) => self.told.extend(part.iter().map(|(alert, told)| (alert.labels.clone(), *told))),
                // The next evaluation tries again.
                Err(why) => tracing::warn!(
                    to = self.to.name(),
                    alerts = part.len(),
                    error = why,
                    "alerts could not be told"
                ),
            }
        }
    }

    /// What is to be told of an alert, if anything is.
    fn news(&self, alert: &Alert, at: i64) -> Option<Told> {
        let fired_at = alert.fired_at?;
        let now = Told { fired_at, is_over: alert.state == State::Inactive, at };
        let (repeat, concerns) = match self.to {
            To::Optimizer { .. } => (REPEAT_OPTIMIZER, !alert.labels.get(ACTION).is_empty()),
            To::Alertmanager { .. } => (REPEAT_ALERTMANAGER, true),
        };
        let is_news = match self.told.get(&alert.labels).filter(|told| told.fired_at == fired_at) {
            // Of what nobody was told, nobody is told that it is over.
            None => !now.is_over,
            Some(told) => told.is_over != now.is_over || (!now.is_over && at - told.at >= repeat),
        };
        (concerns && is_news).then_some(now)
    }

    fn send(&self, at: i64, part: &[(&Alert, Told)]) -> Result<(), String> {
        let (address, path, authorization) = match &self.to {
            To::Optimizer { address, token_file } => {
                let token = Token::from_file(token_file).map_err(|e| e.to_string())?;
                (address, "/api/v1/alerts", token.header())
            }
            To::Alertmanager { address } => (address, "/api/v2/alerts", None),
        };
        let body = match &self.to {
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
    fn alerts(&self, at: i64, part: &[(&Alert, Told)]) -> Value {
        let interval = i64::try_from(self.interval.as_millis()).unwrap_or(REPEAT_ALERTMANAGER);
        let valid = at + 4 * interval.max(REPEAT_ALERTMANAGER);
        let one = |(alert, told): &(&Alert, Told)| {
            json!({
                "labels": pairs(&alert.labels),
                "annotations": alert.annotations,
                "startsAt": time(told.fired_at),
                "endsAt": time(alert.resolved_at.filter(|_| told.is_over).unwrap_or(valid)),
            })
        };
        part.iter().map(one).collect()
    }
}

impl To {
    fn name(&self) -> &'static str {
        match self {
            Self::Optimizer { .. } => "optimizer",
            Self::Alertmanager { .. } => "alertmanager",
        }
    }
}

/// Alertmanager's webhook, version 4.
fn notification(part: &[(&Alert, Told)]) -> Value {
    let status = |is_over: bool| if is_over { "resolved" } else { "firing" };
    let one = |(alert, told): &(&Alert, Told)| {
        json!({
            "status": status(told.is_over),
            "labels": pairs(&alert.labels),
            "annotations": alert.annotations,
            "startsAt": time(told.fired_at),
            "endsAt": alert.resolved_at.filter(|_| told.is_over).map_or_else(|| "0001-01-01T00:00:00Z".into(), time),
            "generatorURL": "",
            "fingerprint": format!("{:016x}", fingerprint(&alert.labels)),
        })
    };
    json!({
        "version": "4",
        "groupKey": "headroom",
        "truncatedAlerts": 0,
        "status": status(part.iter().all(|(_, told)| told.is_over)),
        "receiver": "headroom-optimizer",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": part.iter().map(one).collect::<Vec<Value>>(),
    })
}

fn pairs(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
}

/// The number by which Alertmanager knows an alert: FNV-1a over its labels.
/// Source: `LabelSet.Fingerprint` of prometheus/common.
fn fingerprint(labels: &Labels) -> u64 {
    let bytes =
        labels.iter().flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

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

    fn teller(to: To) -> Teller {
        let opts = prometheus::Opts::new("n", "N.");
        let counts = Counts(IntCounterVec::new(opts, &["to", "result"]).unwrap());
        Teller { to, interval: Duration::from_secs(5), counts, told: HashMap::new() }
    }

    fn nowhere() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    #[test]
    fn each_firing_is_told_once_and_then_its_end() {
        let mut teller = teller(To::Optimizer { address: nowhere(), token_file: PathBuf::new() });
        let firing = alert("reclaim", State::Firing, Some(5));
        let told = teller.news(&firing, 5).unwrap();
        assert_eq!(
            teller.news(&alert("", State::Firing, Some(5)), 5).map(|_| ()),
            None,
            "nothing for the optimizer"
        );
        assert_eq!(teller.news(&alert("reclaim", State::Pending, None), 5).map(|_| ()), None);
        assert_eq!(
            teller.news(&alert("reclaim", State::Inactive, Some(5)), 5).map(|_| ()),
            None,
            "never told"
        );
        teller.told.insert(firing.labels.clone(), told);
        assert!(teller.news(&firing, 6).is_none());
        assert!(teller.news(&firing, 5 + REPEAT_OPTIMIZER).is_some());
        let over = alert("reclaim", State::Inactive, Some(5));
        let told = teller.news(&over, 9).unwrap();
        teller.told.insert(over.labels.clone(), told);
        assert!(teller.news(&over, 10).is_none());
        assert!(teller.news(&alert("reclaim", State::Firing, Some(20)), 20).is_some(), "it fires anew");
    }

    #[test]
    fn what_could_not_be_told_is_told_by_the_next_evaluation() {
        let mut teller = teller(To::Alertmanager { address: nowhere() });
        let all = [alert("", State::Firing, Some(5))];
        teller.tell(5, &all);
        assert_eq!(teller.counts.0.with_label_values(&["alertmanager", "failed"]).get(), 1);
        assert!(teller.told.is_empty() && teller.news(&all[0], 6).is_some());
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        // From prometheus/common's tests: the fingerprint of no labels is the hash's beginning.
        assert_eq!(fingerprint(&Labels::default()), 0xcbf2_9ce4_8422_2325);
        let labels = Labels::new([("first", "one"), ("second", "two")]);
        assert_ne!(fingerprint(&labels), fingerprint(&Labels::new([("first", "onesecond"), ("t", "wo")])));
    }
}
