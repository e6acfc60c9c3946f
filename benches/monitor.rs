//! The monitor of a machine without Prometheus: how much time its memory holds, and what the evaluation of all rules costs.
//!
//! `cargo bench --bench monitor -- [PASSES]`. So many passes over this machine are taken, one a second; they are told again and
//! again, one each five seconds of the history's time, with counters that go on, until nothing more fits.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program for people"
)]

use headroom::collect::{Options, Scraper};
use headroom::export::passes::Passes;
use headroom::exporter::scrapes::Recorded;
use headroom::host::Host;
use headroom::host::group::Rule;
use headroom::metric::Kind;
use headroom::metric::batch::Recorder;
use headroom::monitor::group::{Around, Group};
use headroom::monitor::history::History;
use headroom::monitor::{Options as Monitor, rules};
use headroom::promql::{Limits, NAME, Point, is_stale};
use headroom::stack::files::RULES;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PASSES: usize = 120;
const EVERY: i64 = 5000;
/// Beats over which the evaluation is looked at: an hour, in which every group is due.
const BEATS: usize = 720;
/// The aims: "several days", and milliseconds of CPU for all rules.
const DAYS_MIN: f64 = 2.0;
const MILLIS_MAX: f64 = 5.0;

/// A series: its labels, whether it counts, and its values by pass.
struct Recording {
    labels: Vec<(String, String)>,
    counts: bool,
    values: Vec<Option<f64>>,
}

fn record(passes: usize) -> Vec<Recording> {
    let mut options = Options::default();
    options.process_groups.rules =
        vec![Rule { name: "{{.Comm}}".into(), cmdline: vec![".".into()], ..Rule::default() }];
    let scraper = Scraper::new(Host::default(), &options).unwrap();
    let labels = [("job", "node"), ("instance", "127.0.0.1:9177")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut told = Passes::new(labels.into());
    let (mut places, mut out) = (HashMap::<Vec<(String, String)>, usize>::new(), Vec::<Recording>::new());
    for pass in 0..passes {
        let (begun, mut sink) = (Instant::now(), Recorder::default());
        scraper.clone().scrape(&mut sink);
        let recorded = Recorded { batch: sink.finish(), begun };
        let mut counters = HashSet::new();
        let mut about = |name: &str, kind: Kind, _: &str| {
            if kind != Kind::Gauge {
                counters.insert(name.to_owned());
            }
        };
        let mut all = Vec::new();
        told.next(recorded, 0, &mut about, &mut |(labels, value, _)| {
            let labels: Vec<_> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            all.push((labels, value));
        });
        for (labels, value) in all.into_iter().filter(|(_, value)| !is_stale(*value)) {
            let place = *places.entry(labels.clone()).or_insert_with(|| {
                let name =
                    labels.iter().find(|(name, _)| name == NAME).map(|(_, value)| value.clone()).unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let counts = counters.contains(&name) || base.is_some_and(|base| counters.contains(base));
                out.push(Recording { labels, counts, values: vec![None; passes] });
                out.len() - 1
            });
            out[place].values[pass] = Some(value);
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    out
}

impl Recording {
    /// Its value in a later pass: a counter goes on from where the recording ended.
    fn value(&self, pass: usize) -> Option<f64> {
        let value = self.values[pass % self.values.len()]?;
        if !self.counts {
            return Some(value);
        }
        let ends = |all: &mut dyn Iterator<Item = &Option<f64>>| all.flatten().next().copied();
        let (first, last) = (ends(&mut self.values.iter())?, ends(&mut self.values.iter().rev())?);
        // Hundredths and whole numbers stay what they are.
        let grown = (last - first).max(0.0) * (pass / self.values.len()) as f64;
        Some(((value + grown) * 1e6).round() / 1e6)
    }
}

fn cpu_millis() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn main() -> ExitCode {
    let passes = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(PASSES);
    println!("taking {passes} passes over this machine, one a second");
    let series = record(passes);
    let bytes_max = usize::try_from(Monitor::default().memory_max.as_u64()).unwrap();
    let (history, external) = (History::new(bytes_max), BTreeMap::new());
    let around = Around { history: &history, limits: Limits::default(), external: &external };
    let read = RULES.iter().flat_map(|(file, text)| rules::read(file, text).unwrap());
    let mut groups: Vec<Group> = read.map(|group| Group::new(group, Duration::from_secs(5))).collect();
    let texts: Vec<Vec<(&str, &str)>> =
        series.iter().map(|one| one.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()).collect();
    let tell = |pass: usize| {
        let at = 1_700_000_000_000 + i64::try_from(pass).unwrap() * EVERY;
        history.append_foreign(
            at,
            series
                .iter()
                .zip(&texts)
                .filter_map(|(one, labels)| Some((labels.as_slice(), Point { at, value: one.value(pass)? }))),
        );
        at
    };
    println!("{} series of collectors; telling them until the history is full", series.len());
    let (mut pass, mut first) = (0, None);
    let begun = Instant::now();
    // What is recorded is told too, though only each minute, so that this takes minutes and not an hour.
    while first.is_none_or(|first| history.counts().oldest == Some(first)) {
        let at = tell(pass);
        first.get_or_insert(at);
        if pass % 12 == 0 {
            for group in groups.iter_mut().filter(|group| group.is_due(at)) {
                group.evaluate(&around, at);
            }
        }
        pass += 1;
    }
    let full = history.counts();
    let days = pass as f64 * EVERY as f64 / 86_400_000.0;
    println!(
        "full after {days:.2} days: {} series, {:.1} MiB, {:.2} bytes a sample (told in {:.0} s)",
        full.series,
        full.bytes as f64 / 1_048_576.0,
        full.bytes as f64 / full.points as f64,
        begun.elapsed().as_secs_f64()
    );
    let (mut spent, mut dearest) = (Vec::new(), BTreeMap::<String, f64>::new());
    for _ in 0..BEATS {
        let at = tell(pass);
        pass += 1;
        let before = cpu_millis();
        for group in groups.iter_mut().filter(|group| group.is_due(at)) {
            let before = cpu_millis();
            group.evaluate(&around, at);
            *dearest.entry(group.written.name.clone()).or_default() += cpu_millis() - before;
        }
        spent.push(cpu_millis() - before);
    }
    spent.sort_by(f64::total_cmp);
    let (median, most, mean) = (spent[BEATS / 2], spent[BEATS - 1], spent.iter().sum::<f64>() / BEATS as f64);
    println!(
        "evaluation of the rules that are due: {median:.2} ms of CPU (median), {mean:.2} ms (mean), {most:.1} ms (most)"
    );
    let mut dearest: Vec<_> = dearest.into_iter().collect();
    dearest.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, millis) in dearest.iter().take(5) {
        println!("  {:5.2} ms a beat: {name}", millis / BEATS as f64);
    }
    let mut ok = true;
    for (what, met) in [("days in 64 MiB", days >= DAYS_MIN), ("CPU of an evaluation", median <= MILLIS_MAX)]
    {
        println!("{what}: {}", if met { "met" } else { "MISSED" });
        ok &= met;
    }
    ExitCode::from(u8::from(!ok))
}
