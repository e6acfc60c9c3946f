//! The parsers of what clients, programs and people write: requests, notifications, text files, configuration.

use super::{
    Parser,
    Run::{Bytes, Text},
};
use crate::apps::limits::Limits;
use crate::apps::otlp::request::{Arrival, receive};
use crate::apps::otlp::{Names, json};
use crate::apps::scrape::page::{self, Form, Reading};
use crate::apps::scrape::relabel::Relabelling;
use crate::apps::statsd::engine::Engine;
use crate::apps::statsd::mapping::Mapping;
use crate::apps::statsd::metrics::Metrics;
use crate::apps::{self, Applications};
use crate::benchmark::{Book, formats};
use crate::collect::textfile;
use crate::config::{self, process_names};
use crate::encode::name::Scheme;
use crate::encode::text::TextEncoder;
use crate::encode::{Encoder, negotiate};
use crate::export::fuzzed;
use crate::exporter::ask::Ask;
use crate::host::group::{Grouping, Rule};
use crate::matching::{Labels, Matcher};
use crate::metric::batch::Recorder;
use crate::optimize::api::by_hand::Reclaim;
use crate::optimize::policy::Decision;
use crate::optimize::{Options, action, alert, api, policy};
use crate::{client, serve};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Requests over HTTP, and files that are no kernel's.
pub(super) const REQUESTS: &[Parser] = &[
    ("apps::otlp::json::request", Bytes(otlp_json)),
    ("apps::otlp::request::receive", Bytes(otlp)),
    ("apps::scrape::page::read", Text(scraped)),
    ("apps::statsd::engine::packet", Bytes(statsd)),
    ("apps::statsd::mapping::parse", Text(|t| _ = Mapping::parse(t))),
    ("benchmark::formats::read", Text(|t| _ = formats::read(t, None, None))),
    ("benchmark::parse", Text(|t| _ = Book::parse(t))),
    ("client::check", Text(|t| _ = client::check(t))),
    ("collect::textfile::show", Bytes(same_when_read_again)),
    ("config::parse", Text(|t| _ = config::Config::parse(t, Path::new("/nowhere/c.yaml")))),
    ("config::process_names::parse", Text(|t| _ = process_names::parse(t, Path::new("/nowhere/p.yaml")))),
    ("encode::name::parse", Text(|t| _ = Scheme::parse(t))),
    ("encode::negotiate::coding", Text(|t| _ = negotiate::coding(t))),
    ("encode::negotiate::format", Text(|t| _ = negotiate::format(t).content_type())),
    ("exporter::ask::read", Bytes(ask)),
    ("host::group::new", Text(rule)),
    ("matching::parse", Text(|t| _ = Matcher::parse(t).map(|matcher| matcher.matches(&Labels::new())))),
    ("optimize::alert::parse", Bytes(|b| _ = alert::parse(b))),
    ("optimize::api::filter", Text(|t| _ = api::filter(Some(t)))),
    ("serve::query", Text(|t| _ = serve::query::query(Some(t), "collect[]").count())),
];

/// What receivers answer, what disks kept, and what applications sent on its way out.
pub(super) const EXPORT: &[Parser] = &[
    ("export::fuzzed::answer", Bytes(fuzzed::answer)),
    ("export::fuzzed::decoded", Bytes(fuzzed::decoded)),
    ("export::fuzzed::record", Bytes(fuzzed::record)),
    ("export::fuzzed::sent", Bytes(sent)),
];

/// What Alertmanager's webhook and people's requests bring.
pub(super) const WEBHOOK: &[Parser] = &[
    ("optimize::policy::decide", Bytes(decided)),
    ("optimize::api::by_hand::Reclaim", Bytes(|b| _ = serde_json::from_slice::<Reclaim>(b))),
];

/// What an optimizer is configured with: all of it stands below `optimizer:`.
pub(super) const POLICY: &[Parser] = &[("optimize::action::check", Text(usable))];

/// A machine's policies and targets, for notifications to choose among.
static OWN: LazyLock<Options> = LazyLock::new(|| {
    let text = include_str!("../../fuzz/seeds/policy.yaml");
    optimizer(text).unwrap_or_else(|| panic!("the seed is no configuration"))
});

/// A notification selects; it brings nothing along: what it leads to is a policy whose matchers match, on a target of the
/// configuration, and the same each time.
fn decided(bytes: &[u8]) {
    let Ok(alerts) = alert::parse(bytes) else { return };
    let again = alert::parse(bytes).unwrap_or_default();
    assert!(alerts == again, "{alerts:?} became {again:?}");
    for alert in &alerts {
        let names = ["here".to_owned()];
        match policy::decide(&OWN.policies, &OWN.targets, &names, &alert.labels) {
            Decision::Act { policy, target } => {
                assert!(policy.matchers.iter().all(|m| m.matches(&alert.labels)), "{:?}", alert.labels);
                assert!(OWN.targets.iter().any(|t| std::ptr::eq(t, target)), "{:?}", alert.labels);
                assert!(OWN.policies.iter().any(|p| std::ptr::eq(p, policy)), "{:?}", alert.labels);
            }
            Decision::Nothing { .. } | Decision::OtherHost { .. } => {}
        }
    }
}

/// What is loaded can be used: each rung is an action that exists, with options that it takes, and each rule's target is there.
fn usable(text: &str) {
    let Some(options) = optimizer(text) else { return };
    let policies = options.policies.iter().flat_map(|policy| &policy.ladder);
    let rules = options.pressure.rules.iter().flat_map(|rule| &rule.ladder);
    for rung in policies.chain(rules) {
        let action = action::find(&rung.action);
        assert!(action.is_some_and(|a| a.check(&rung.with).is_ok()), "{rung:?} of {text}");
    }
    for rule in &options.pressure.rules {
        assert!(options.targets.iter().any(|t| t.name == rule.target), "{rule:?} of {text}");
    }
}

/// The optimizer's options in a file whose only key is `optimizer`.
fn optimizer(text: &str) -> Option<Options> {
    let mut file = "optimizer:\n".to_owned();
    for line in text.lines() {
        file.push_str("  ");
        file.push_str(line);
        file.push('\n');
    }
    config::Config::parse(&file, Path::new("/nowhere/c.yaml")).ok().map(|config| config.optimizer)
}

/// The most that an application may have held while it is fuzzed.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// A request for metrics: whatever it is, no more is held than may be, and what is shown is a page that can be read.
fn otlp(bytes: &[u8]) {
    let memory = bytesize::ByteSize(HELD_BYTES_MAX);
    let limits = Limits { memory, memory_per_application: memory, ..Limits::default() };
    for names in [Names::Underscores, Names::Utf8] {
        let applications =
            Applications::new(&apps::Options { limits: limits.clone(), ..apps::Options::default() });
        let arrival = Arrival { now: std::time::Instant::now(), wall_nanos: 0 };
        _ = receive(&applications, names, bytes, arrival);
        if applications.lock().totals().series == 0 {
            continue;
        }
        assert!(applications.lock().totals().bytes as u64 <= HELD_BYTES_MAX);
        for scheme in [Scheme::Underscores, Scheme::AllowUtf8] {
            let mut out = TextEncoder::default();
            out.clear(scheme);
            applications.lock().write(arrival.now, &mut out);
            let page = out.finish().clone();
            if scheme == Scheme::Underscores {
                let text = String::from_utf8_lossy(&page);
                assert!(shown(&page).is_some(), "{text}");
            }
        }
    }
}

/// The same in JSON: what it becomes can be read, and is no longer than it may be.
fn otlp_json(bytes: &[u8]) {
    const MOST: usize = 4096;
    if let Ok(request) = json::request(bytes, MOST) {
        // The last value may be the one that is too long.
        assert!(request.len() <= 2 * MOST + bytes.len(), "{} bytes", request.len());
        otlp(&request);
    }
}

/// A request of an application, in protocol buffers or JSON, that is taken and sent on.
fn sent(bytes: &[u8]) {
    const MOST: usize = 4096;
    let request = json::request(bytes, MOST).unwrap_or_else(|_| bytes.to_vec());
    let applications = Applications::new(&apps::Options::default());
    let arrival = Arrival { now: std::time::Instant::now(), wall_nanos: 0 };
    _ = receive(&applications, Names::Utf8, &request, arrival);
    if applications.lock().totals().series == 0 {
        return;
    }
    let mut out = Recorder::default();
    applications.lock().write(arrival.now, &mut out);
    fuzzed::sent(&out.finish());
}

/// A page of an application, in both forms; there are never more series than samples.
fn scraped(text: &str) {
    let rules = Relabelling::default();
    for form in [Form::Text, Form::OpenMetrics] {
        let (honor_labels, honor_timestamps) = (form == Form::Text, true);
        let (job, instance, sample_limit) = ("j", "i", 0);
        let reading =
            Reading { form, job, instance, honor_labels, honor_timestamps, rules: &rules, sample_limit };
        if let Ok(page) = page::read(text, &reading) {
            let series: usize = page.families.iter().map(|family| family.series.len()).sum();
            assert!(series <= page.kept && page.kept <= page.scraped, "{text}");
        }
    }
}

/// A datagram of StatsD, with a mapping and without: whatever it is, no more is held than may be, and what is shown is a page
/// that can be read. What comes before the first NUL is the mapping.
fn statsd(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let mapping = second.and_then(|_| Mapping::parse(&String::from_utf8_lossy(first)).ok());
    let packet = second.unwrap_or(first);
    let memory = bytesize::ByteSize(HELD_BYTES_MAX);
    let limits = Limits { memory, memory_per_application: memory, ..Limits::default() };
    let mapping = Arc::new(mapping.unwrap_or_default());
    let options = apps::statsd::Options { memory, mapping, ..apps::statsd::Options::default() };
    let (now, stale_after) = (std::time::Instant::now(), std::time::Duration::from_mins(5));
    let Ok(metrics) = Metrics::new(&prometheus::Registry::new()) else { return };
    let mut engine = Engine::new(&options, stale_after, metrics);
    let mut store = apps::store::Store::new(limits, stale_after, now);
    engine.packet(packet, &mut store, now);
    engine.flush(&mut store, now);
    engine.tick(&mut store, now + std::time::Duration::from_secs(20));
    assert!(store.totals().bytes as u64 <= HELD_BYTES_MAX);
    if store.totals().series > 0 {
        let mut out = TextEncoder::default();
        out.clear(Scheme::Underscores);
        store.write(now, &mut out);
        let page = out.finish().clone();
        assert!(shown(&page).is_some(), "{}", String::from_utf8_lossy(&page));
    }
}

/// A request whose lines are `Accept`, `Accept-Encoding`, Prometheus's time-out and the query.
fn ask(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [ACCEPT.as_str(), ACCEPT_ENCODING.as_str(), "x-prometheus-scrape-timeout-seconds"] {
        let value = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok());
        if let (Ok(name), Some(value)) = (hyper::header::HeaderName::try_from(name), value) {
            headers.insert(name, value);
        }
    }
    let query = lines.next().map(String::from_utf8_lossy);
    _ = Ask::read(&headers, query.as_deref()).map(Ask::want);
}

/// A rule of process groups whose template, command line and user are the lines of a text.
fn rule(text: &str) {
    let mut lines = text.lines().map(str::to_owned);
    let name = lines.next().unwrap_or_default();
    let rule = Rule { name, cmdline: lines.take(3).collect(), ..Rule::default() };
    _ = Grouping::new(&[rule]);
}

/// What the collector of text files shows of a file is a file that it shows as it is.
fn same_when_read_again(bytes: &[u8]) {
    let Some(page) = shown(bytes) else { return };
    let again = shown(&page).map(|page| String::from_utf8_lossy(&page).into_owned());
    let page = String::from_utf8_lossy(&page);
    assert!(again.as_deref() == Some(&page), "{page} became {again:?}");
}

/// What is shown of a text file, with names as they are.
fn shown(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = TextEncoder::default();
    out.clear(Scheme::AllowUtf8);
    textfile::show(bytes, &mut out).ok().map(|()| out.finish().clone())
}
