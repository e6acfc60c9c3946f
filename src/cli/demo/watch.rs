//! Watches the loop from outside, through the servers' own APIs, and notes when each step was first seen.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value that lacks the key gives null, never a panic"
)]

use crate::client::{Call, send};
use crate::serve::token::Token;
use anyhow::{Result, bail};
use bytesize::ByteSize;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The steps of the loop, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Crossed,
    Pending,
    Firing,
    Alertmanager,
    Received,
    Begun,
    Verified,
    Below,
    Resolved,
    Recorded,
}

const STEPS: [(Step, &str); 10] = [
    (Step::Crossed, "threshold crossed"),
    (Step::Pending, "alert pending"),
    (Step::Firing, "alert firing"),
    (Step::Alertmanager, "Alertmanager has it"),
    (Step::Received, "webhook received"),
    (Step::Begun, "action begins"),
    (Step::Verified, "bytes verified"),
    (Step::Below, "below the budget"),
    (Step::Resolved, "alert resolved"),
    (Step::Recorded, "resolution received"),
];

/// What was seen of the loop, and when.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    begun_millis: i64,
    budget_bytes: u64,
    /// Whether the alert goes by way of an Alertmanager.
    has_alertmanager: bool,
    seen: Vec<(Step, i64, String)>,
    freed_bytes: u64,
    before_bytes: u64,
    after_bytes: u64,
    result: String,
    /// What the last action said, where it gained nothing.
    detail: String,
}

impl Timeline {
    /// A timeline that begins at a time in milliseconds since the epoch.
    pub(super) fn new(begun_millis: i64, budget_bytes: u64, has_alertmanager: bool) -> Self {
        Self { begun_millis, budget_bytes, has_alertmanager, ..Self::default() }
    }

    /// The steps that there are, and their names.
    fn steps(&self) -> impl Iterator<Item = (Step, &'static str)> {
        let has_alertmanager = self.has_alertmanager;
        STEPS.into_iter().filter(move |(step, _)| *step != Step::Alertmanager || has_alertmanager)
    }

    fn note(&mut self, step: Step, at_millis: i64, what: impl Into<String>) -> Option<String> {
        if self.at(step).is_some() {
            return None;
        }
        let what = what.into();
        let name = STEPS.iter().find(|(s, _)| *s == step).map_or("", |(_, name)| name);
        let line = format!("{:>8.2} s  {name:<20} {what}", self.since_begin(at_millis));
        self.seen.push((step, at_millis, what));
        Some(line)
    }

    fn at(&self, step: Step) -> Option<i64> {
        self.seen.iter().find(|(s, ..)| *s == step).map(|(_, at, _)| *at)
    }

    fn since_begin(&self, at_millis: i64) -> f64 {
        at_millis.saturating_sub(self.begun_millis) as f64 / 1000.0
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn complete(&self) -> bool {
        self.steps().all(|(step, _)| self.at(step).is_some())
    }

    /// Whether the run ended without what it is to show: there is no use in waiting for more.
    pub(super) fn failed(&self) -> bool {
        !self.result.is_empty() && self.result != "effective"
    }

    /// Whether the alert went the whole way, memory was verified as freed, and the alert resolved.
    pub(super) fn closed(&self) -> bool {
        self.complete() && self.freed_bytes > 0 && self.result == "effective"
    }

    /// Says in a few lines what happened.
    pub(super) fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = |b| ByteSize::b(b).display().iec().to_string();
        writeln!(out)?;
        for (step, name) in self.steps() {
            if self.at(step).is_none() {
                writeln!(out, "Not seen: {name}")?;
            }
        }
        if let (Some(crossed), Some(verified)) = (self.at(Step::Crossed), self.at(Step::Verified)) {
            let seconds = verified.saturating_sub(crossed) as f64 / 1000.0;
            writeln!(out, "From the scrape that shows it to verified bytes: {seconds:.2} s")?;
        }
        if self.freed_bytes > 0 {
            let (before, after) = (bytes(self.before_bytes), bytes(self.after_bytes));
            let freed = bytes(self.freed_bytes);
            writeln!(
                out,
                "Verified: {freed} came back to the machine; the process went from {before} to {after} (budget {})",
                bytes(self.budget_bytes)
            )?;
        }
        let closed = if self.closed() { "The loop is closed." } else { "The loop is NOT closed." };
        let result = if self.result.is_empty() { "none" } else { &self.result };
        if !self.detail.is_empty() {
            writeln!(out, "The action: {}", self.detail)?;
        }
        writeln!(out, "Result in the record: {result}. {closed}")
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let step = |(step, name)| Some(json!({ "step": name, "seconds": self.since_begin(self.at(step)?) }));
        let steps: Vec<Value> = self.steps().filter_map(step).collect();
        json!({
            "closed": self.closed(), "result": self.result, "freed_bytes": self.freed_bytes,
            "before_bytes": self.before_bytes, "after_bytes": self.after_bytes, "steps": steps
        })
    }
}

/// Who is asked.
pub(super) struct Servers {
    /// Who evaluates the rules, by address and
    pub(super) rules: SocketAddr,
    /// by name.
    pub(super) evaluator: &'static str,
    /// Alertmanager, if there is one.
    pub(super) alertmanager: Option<SocketAddr>,
    /// The optimizer.
    pub(super) optimizer: SocketAddr,
}

/// Asks the servers how far it is.
pub(super) struct Watch {
    servers: Servers,
    token: Option<HeaderValue>,
    group: &'static str,
}

impl Watch {
    /// Whether there is an Alertmanager.
    pub(super) fn has_alertmanager(&self) -> bool {
        self.servers.alertmanager.is_some()
    }

    /// A watch over the servers at these addresses.
    pub(super) fn new(servers: Servers, token_file: &Path, group: &'static str) -> Result<Self> {
        Ok(Self { servers, token: Token::from_file(token_file)?.header(), group })
    }

    /// Waits until the servers are ready and the exporter's samples are there.
    pub(super) async fn servers_ready(&self, wait: Duration) -> Result<()> {
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            let alertmanager = match self.servers.alertmanager {
                Some(address) => {
                    let ready = send(Call::get(format!("http://{address}/-/ready"))).await;
                    ready.is_ok_and(|(status, _)| status.is_success())
                }
                None => true,
            };
            let up = self.value("min(up{job=~\"node|headroom-optimizer|alertmanager\"})").await;
            if alertmanager && up.is_some_and(|(_, v)| v > 0.5) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!(
            "{} or Alertmanager was not ready within {}; see the logs",
            self.servers.evaluator,
            humantime::format_duration(wait)
        )
    }

    /// Looks once, and gives a line for each step that was not seen before.
    pub(super) async fn look(&self, timeline: &mut Timeline, now: i64) -> Vec<String> {
        let mut lines = Vec::new();
        let memory = format!(
            "namedprocess_namegroup_memory_bytes{{memtype=\"resident\",groupname=\"{}\"}}",
            self.group
        );
        if let Some((at, bytes)) = self.value(&memory).await {
            let budget = timeline.budget_bytes as f64;
            let what = || {
                format!(
                    "{:.0} MiB resident, the budget is {:.0} MiB",
                    bytes / 1_048_576.0,
                    budget / 1_048_576.0
                )
            };
            if bytes > budget {
                lines.extend(timeline.note(Step::Crossed, at, what()));
            } else if timeline.at(Step::Verified).is_some() {
                lines.extend(timeline.note(Step::Below, at, what()));
            }
        }
        self.alert(timeline, now, &mut lines).await;
        self.record(timeline, &mut lines).await;
        lines
    }

    async fn alert(&self, timeline: &mut Timeline, now: i64, lines: &mut Vec<String>) {
        let answer = self.json(format!("http://{}/api/v1/alerts", self.servers.rules), None).await;
        let Some(answer) = answer.filter(|a| a["status"] == "success") else { return };
        let ours = |a: &&Value| a["labels"]["groupname"] == self.group;
        let alert = answer["data"]["alerts"].as_array().and_then(|all| all.iter().find(ours)).cloned();
        let by = self.servers.evaluator;
        let name = |a: &Value| a["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        match alert {
            Some(alert) => {
                let since = alert["activeAt"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
                let since = since.map_or(now, jiff::Timestamp::as_millisecond);
                lines.extend(timeline.note(Step::Pending, since, format!("{} in {by}", name(&alert))));
                if alert["state"] == "firing" {
                    lines.extend(timeline.note(Step::Firing, now, format!("{} in {by}", name(&alert))));
                }
            }
            None if timeline.at(Step::Firing).is_some() => {
                lines.extend(timeline.note(Step::Resolved, now, format!("in {by}")));
            }
            None => {}
        }
        if let Some(address) = self.servers.alertmanager.filter(|_| timeline.at(Step::Alertmanager).is_none())
        {
            let filter = format!("http://{address}/api/v2/alerts?filter=groupname%3D%22{}%22", self.group);
            let held = self.json(filter, None).await;
            if held.and_then(|h| h.as_array().map(|a| !a.is_empty())).unwrap_or_default() {
                lines.extend(timeline.note(Step::Alertmanager, now, "and routes it to the optimizer"));
            }
        }
    }

    async fn record(&self, timeline: &mut Timeline, lines: &mut Vec<String>) {
        let url = format!("http://{}/api/v1/actions?limit=1&target={}", self.servers.optimizer, self.group);
        let Some(answer) = self.json(url, self.token.clone()).await else { return };
        let entry = &answer["entries"][0];
        let Some(queued) = entry["queued_at_millis"].as_i64() else { return };
        let policy = entry["policy"].as_str().unwrap_or_default();
        lines.extend(timeline.note(
            Step::Received,
            queued,
            format!("written to the journal; policy {policy}"),
        ));
        for step in entry["steps"].as_array().into_iter().flatten() {
            let action = step["action"].as_str().unwrap_or_default();
            if let Some(begun) = step["begun_at_millis"].as_i64() {
                let want = step["plan"]["request"]["bytes"]
                    .as_u64()
                    .map(|b| ByteSize::b(b).display().iec().to_string());
                let want = want.unwrap_or_else(|| "memory".into());
                lines.extend(timeline.note(Step::Begun, begun, format!("{action}: give back {want}")));
            }
            let (Some(ended), Some(freed)) = (step["ended_at_millis"].as_i64(), step["freed_bytes"].as_u64())
            else {
                continue;
            };
            let note = step["detail"].as_str().unwrap_or_default();
            if freed == 0 {
                note.clone_into(&mut timeline.detail);
            } else {
                timeline.freed_bytes = freed;
                timeline.before_bytes = step["before"]["target"]["bytes"].as_u64().unwrap_or_default();
                timeline.after_bytes = step["after"]["target"]["bytes"].as_u64().unwrap_or_default();
                let freed = ByteSize::b(freed).display().iec();
                lines.extend(timeline.note(
                    Step::Verified,
                    ended,
                    format!("{freed} more are available ({note})"),
                ));
            }
        }
        if let Some(result) = entry["result"].as_str() {
            result.clone_into(&mut timeline.result);
        }
        if let Some(resolved) = entry["resolved_at_millis"].as_i64() {
            lines.extend(timeline.note(
                Step::Recorded,
                resolved.max(queued),
                "by the webhook; the episode is over",
            ));
        }
    }

    /// The newest sample of an expression: its time in milliseconds, and its value.
    async fn value(&self, expression: &str) -> Option<(i64, f64)> {
        let ask = |q: &str| {
            self.json(
                format!("http://{}/api/v1/query?query={}", self.servers.rules, percent_encoded(q)),
                None,
            )
        };
        let number = |answer: Option<Value>| -> Option<f64> {
            answer?["data"]["result"][0]["value"][1].as_str()?.parse().ok()
        };
        let value = number(ask(expression).await)?;
        // The sample's own time, not the time of the question.
        let seconds = number(ask(&format!("timestamp({expression})")).await)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds fits")]
        Some(((seconds * 1000.0) as i64, value))
    }

    async fn json(&self, url: String, authorization: Option<HeaderValue>) -> Option<Value> {
        let (_, body) = send(Call { authorization, ..Call::get(url) }).await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        // Writing to a string cannot fail.
        let _written = std::fmt::Write::write_fmt(&mut all, format_args!("%{byte:02X}"));
        all
    })
}
