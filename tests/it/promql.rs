//! The query language's answers, compared with those of a real Prometheus that holds the same samples.

use crate::stack::{Running, eventually, free_address, get, program};
use headroom::client::{Call, send_blocking};
use headroom::promql::{Error, Labels, Limits, Point, Query, Sample, Series, Source, Value, Window};
use hyper::Method;
use promql_parser::label::Matcher;
use proptest::prelude::Rng;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The first sample; two hours of them, one each quarter of a minute.
const BEGIN: i64 = 1_700_000_000_000;
const STEP: i64 = 15_000;
const SAMPLES: i64 = 480;
/// When it is asked: at the end, and over the last twenty minutes.
const AT: i64 = 1_700_005_000_000;
const OVER: Window = Window { from: AT - 1_200_000, to: AT };
const OVER_STEP: i64 = 173_000;
/// Expressions that are made up, besides each function on each selector.
const MADE_UP: usize = 1000;

const SELECTORS: [&str; 9] = [
    "g",
    "c_total",
    "cap",
    "{__name__=\"g\",job=\"api\"}",
    "g{instance=~\"a|b\"}",
    "c_total{job!=\"db\"}",
    "one",
    "g{mode!~\"x\"}",
    "machine_info",
];
const OF_SAMPLES: [&str; 32] = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "round",
    "deg",
    "rad",
    "sin",
    "cos",
    "tan",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "timestamp",
    "sort",
    "sort_desc",
    "minute",
    "hour",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
    "absent",
];
const OF_RANGES: [&str; 18] = [
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "changes",
    "resets",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "absent_over_time",
];
const AGGREGATIONS: [&str; 8] = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];

/// Series in memory.
pub(crate) struct Memory(pub(crate) Vec<Series>);

impl Source for Memory {
    fn select(&self, matchers: &[Matcher], window: Window, points_max: usize) -> Option<Vec<Series>> {
        let fits = |s: &&Series| matchers.iter().all(|m| m.is_match(s.labels.get(&m.name)));
        let within = |p: &&Point| p.at >= window.from && p.at <= window.to;
        let cut = |s: &Series| Series {
            labels: s.labels.clone(),
            points: s.points.iter().filter(within).copied().collect(),
        };
        let all: Vec<Series> = self.0.iter().filter(fits).map(cut).filter(|s| !s.points.is_empty()).collect();
        (all.iter().map(|s| s.points.len()).sum::<usize>() <= points_max).then_some(all)
    }
}

/// Numbers that look like chance and are the same each time.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Counters that begin anew, gauges that end, gaps, histograms, labels without numbers.
fn samples() -> Vec<Series> {
    let mut dice = Dice::new(7);
    let mut out = Vec::new();
    let mut add =
        |dice: &mut Dice, labels: &[(&str, &str)], value: &mut dyn FnMut(&mut Dice, i64) -> Option<f64>| {
            let points = (0..SAMPLES).filter_map(|n| {
                let late = [0, 0, 0, 7, 120][dice.below(5)];
                Some(Point { at: BEGIN + n * STEP + late, value: value(dice, n)? })
            });
            out.push(Series { labels: Labels::new(labels.iter().copied()), points: points.collect() });
        };
    for job in ["api", "db"] {
        for instance in ["a", "b", "c"] {
            let who = [("job", job), ("instance", instance)];
            let named = |name, more: &[(&'static str, &'static str)]| {
                [&[("__name__", name)][..], &who, more].concat()
            };
            let mut counter = 0.0;
            add(&mut dice, &named("c_total", &[]), &mut |dice, n| {
                counter = if dice.below(100) == 0 { 0.0 } else { counter };
                counter += [0.0, 1.0, 2.0, 5.0, 13.5][dice.below(5)];
                (instance != "b" || !(100..140).contains(&n)).then_some(counter)
            });
            let mode = dice.one(&["x", "y"]);
            add(&mut dice, &named("g", &[("mode", mode)]), &mut |dice, n| {
                let value = dice.below(10_000) as f64 / 1000.0 - 5.0;
                (instance != "c" || n <= 300).then_some(value)
            });
            add(&mut dice, &named("cap", &[]), &mut |_, _| Some(10.0));
        }
        for le in ["0.1", "0.5", "1", "5", "+Inf"] {
            let mut count = 0.0;
            add(&mut dice, &[("__name__", "h_bucket"), ("job", job), ("le", le)], &mut |dice, _| {
                count += [0.0, 1.0, 3.0][dice.below(3)];
                Some(count)
            });
        }
    }
    add(&mut dice, &[("__name__", "one")], &mut |_, _| Some(1.0));
    add(&mut dice, &[("__name__", "odd")], &mut |_, n| {
        Some(if n % 7 == 0 { f64::INFINITY } else { n as f64 })
    });
    for (instance, os) in [("a", "linux"), ("b", "bsd")] {
        add(&mut dice, &[("__name__", "machine_info"), ("instance", instance), ("os", os)], &mut |_, _| {
            Some(1.0)
        });
    }
    out
}

/// An expression that may be nested, and may have no answer.
fn made_up(dice: &mut Dice, depth: usize) -> String {
    let kind = dice.below(100);
    let inner = |dice: &mut Dice| made_up(dice, depth + 1);
    if depth > 3 || kind < 25 {
        let selector = dice.one(&SELECTORS);
        let when = dice.one(&[
            "",
            "",
            "",
            "",
            " offset 1m",
            " offset -3m",
            " @ 1700003000",
            " @ start()",
            " @ end()",
        ]);
        return format!("{selector}{when}");
    }
    match kind {
        // Not the dates of numbers that no calendar has.
        25..35 => format!("{}({})", dice.one(&OF_SAMPLES[..23]), inner(dice)),
        35..55 => {
            let range = if dice.below(8) == 0 {
                let step = dice.one(&["", "30s", "1m", "37s"]);
                format!("({})[{}:{step}]", inner(dice), dice.one(&["5m", "20m"]))
            } else {
                let back = dice.one(&["", "", "", "", " offset 10m"]);
                format!("{}[{}]{back}", dice.one(&SELECTORS), dice.one(&["1m", "5m", "7m13s", "30m"]))
            };
            match dice.below(OF_RANGES.len() + 2) {
                0 => format!(
                    "quantile_over_time({}, {range})",
                    dice.one(&["0", "0.3", "0.99", "1", "-1", "2"])
                ),
                1 => format!("predict_linear({range}, {})", dice.one(&["60", "3600"])),
                n => format!("{}({range})", OF_RANGES[n - 2]),
            }
        }
        55..75 => {
            let by = dice.one(&[
                "",
                " by (job)",
                " without (instance)",
                " by (instance, mode)",
                " by (job, instance)",
            ]);
            // Which of equals topk() takes is nobody's promise: these samples have none.
            match dice.below(AGGREGATIONS.len() + 3) {
                0 => format!("topk{by} ({}, g)", dice.one(&["1", "2", "3"])),
                1 => format!("quantile{by} ({}, {})", dice.one(&["0.1", "0.5", "0.9"]), inner(dice)),
                2 => format!("count_values{by} (\"v\", cap + one)"),
                n => format!("{}{by} ({})", AGGREGATIONS[n - 3], inner(dice)),
            }
        }
        75..93 => {
            let sets = ["and", "or", "unless"];
            let op = dice.one(&[
                "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless",
            ]);
            let on = dice.one(&["", "", "", " on (instance)", " on (job, instance)", " ignoring (mode)"]);
            if sets.contains(&op) {
                return format!("({}) {op}{on} ({})", inner(dice), inner(dice));
            }
            let truth = if "==!=<=>=".contains(op) { dice.one(&["", " bool"]) } else { "" };
            let group = if on.contains("on (") {
                dice.one(&["", " group_left ()", " group_left (os)", " group_right (mode)"])
            } else {
                ""
            };
            match dice.below(10) {
                0..4 => {
                    format!("({}) {op}{truth} {}", inner(dice), dice.one(&["0", "1.5", "-2", "10", "time()"]))
                }
                4 => format!("{} {op}{truth} ({})", dice.one(&["0", "1.5", "-2"]), inner(dice)),
                _ => format!("({}) {op}{truth}{on}{group} ({})", inner(dice), inner(dice)),
            }
        }
        93 => {
            let of = dice.one(&["h_bucket", "rate(h_bucket[5m])", "sum by (le) (rate(h_bucket[5m]))"]);
            format!("histogram_quantile({}, {of})", dice.one(&["0", "0.5", "0.9", "0.99", "1"]))
        }
        94 => {
            let (from, pattern) = (dice.one(&["instance", "nope"]), dice.one(&["(.*)", "(a|b)", "q"]));
            format!("label_replace({}, \"to\", \"x-$1\", \"{from}\", \"{pattern}\")", inner(dice))
        }
        95 => format!("label_join({}, \"j\", \"-\", \"job\", \"instance\")", inner(dice)),
        96 => format!("clamp({}, -1, {})", inner(dice), dice.one(&["1", "3", "-2"])),
        97 => format!("clamp_max(clamp_min({}, 0.5), 2)", inner(dice)),
        98 => format!("-({})", inner(dice)),
        _ => format!("round({}, {})", inner(dice), dice.one(&["0.1", "5"])),
    }
}

fn expressions() -> Vec<String> {
    let mut out: Vec<String> =
        ["vector(1)", "time()", "1 + 2 * 3", "\"text\"", "absent(nope{a=\"b\",c=~\"d\"})"]
            .into_iter()
            .chain([
                "absent_over_time(nope{a=\"b\"}[5m])",
                "scalar(nope)",
                "g[2m]",
                "g[5m:1m]",
                "sum(nope)",
                "-odd",
            ])
            .chain([
                "1 > bool 2",
                "vector(1) unless vector(2)",
                "c_total > 5 < 100",
                "max(odd) - min(odd)",
                "pi()",
            ])
            .chain(["scalar(one) + 1", "avg_over_time(odd[5m])", "sum(odd)", "avg(odd)", "topk(1, odd)"])
            .map(str::to_owned)
            .collect();
    for selector in SELECTORS {
        out.extend(OF_SAMPLES.map(|of| format!("{of}({selector})")));
        out.extend(OF_RANGES.map(|of| format!("{of}({selector}[5m])")));
    }
    let mut dice = Dice::new(3);
    out.extend((0..MADE_UP).map(|_| made_up(&mut dice, 0)));
    out
}

/// All samples in OpenMetrics' form, which promtool takes.
fn openmetrics(all: &[Series]) -> String {
    let mut families: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    for series in all {
        families.entry(series.labels.get("__name__")).or_default().push(series);
    }
    let mut out = String::new();
    for (name, series) in families {
        writeln!(out, "# TYPE {name} unknown").unwrap();
        for one in series {
            let labels: Vec<String> = one
                .labels
                .iter()
                .filter(|(n, _)| *n != "__name__")
                .map(|(n, v)| format!("{n}=\"{v}\""))
                .collect();
            for p in &one.points {
                let (whole, rest) = (p.at / 1000, p.at % 1000);
                let value = if p.value.is_infinite() { "+Inf".to_owned() } else { p.value.to_string() };
                writeln!(out, "{name}{{{}}} {value} {whole}.{rest:03}", labels.join(",")).unwrap();
            }
        }
    }
    out + "# EOF\n"
}

/// Prometheus with these samples, and its address.
pub(crate) fn prometheus(dir: &Path, all: &[Series]) -> Option<(Running, String)> {
    let (server, promtool) = (program(&["prometheus"])?, program(&["promtool"])?);
    std::fs::write(dir.join("samples"), openmetrics(all)).unwrap();
    std::fs::write(dir.join("prometheus.yml"), "global: {evaluation_interval: 1m}\n").unwrap();
    let made = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([dir.join("samples"), dir.join("data")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let address = free_address();
    let mut command = Command::new(server);
    command
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--storage.tsdb.retention.time=100y");
    let running = Running::start(&mut command, &dir.join("log"));
    let url = format!("http://{address}");
    eventually("Prometheus is ready", 60, || {
        get(&format!("{url}/-/ready")).filter(|(status, _)| *status == 200)
    });
    Some((running, url))
}

/// What Prometheus says: its result, or nothing where it says an error.
pub(crate) fn ask(url: &str, path: &str, parameters: &[(&str, &str)]) -> Option<Json> {
    let encoded: Vec<String> = parameters
        .iter()
        .map(|(name, value)| {
            let bytes: Vec<String> = value.bytes().map(|b| format!("%{b:02X}")).collect();
            format!("{name}={}", bytes.concat())
        })
        .collect();
    let mut call = Call {
        method: Method::POST,
        body: Some(encoded.join("&").into_bytes()),
        ..Call::get(format!("{url}/api/v1/{path}"))
    };
    call.headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let (_, body) = send_blocking(call).unwrap();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    (answer["status"] == "success").then(|| answer["data"].clone())
}

/// Series by their labels, each with its points as (milliseconds, value).
pub(crate) type Answer = BTreeMap<Labels, Vec<(i64, f64)>>;

fn number(text: &Json) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

fn point(pair: &Json) -> (i64, f64) {
    #[allow(clippy::cast_possible_truncation, reason = "a time of these tests")]
    let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
    (at, number(&pair[1]))
}

pub(crate) fn theirs(data: &Json) -> Answer {
    let labels =
        |of: &Json| Labels::new(of.as_object().unwrap().iter().map(|(n, v)| (n, v.as_str().unwrap())));
    match data["resultType"].as_str().unwrap() {
        "scalar" => [(Labels::default(), vec![point(&data["result"])])].into(),
        "string" => BTreeMap::new(),
        _ => {
            let one = |s: &Json| {
                let points = s["values"].as_array().cloned().unwrap_or_else(|| vec![s["value"].clone()]);
                (labels(&s["metric"]), points.iter().map(point).collect())
            };
            data["result"].as_array().unwrap().iter().map(one).collect()
        }
    }
}

fn ours(value: Value) -> Answer {
    ours_at(value, AT)
}

/// An answer of ours to a question about this time.
pub(crate) fn ours_at(value: Value, at: i64) -> Answer {
    let series = |s: Series| (s.labels, s.points.iter().map(|p| (p.at, p.value)).collect());
    match value {
        Value::Scalar(value) => [(Labels::default(), vec![(at, value)])].into(),
        Value::Vector(samples) => {
            samples.into_iter().map(|s: Sample| (s.labels, vec![(at, s.value)])).collect()
        }
        Value::Matrix(all) => all.into_iter().map(series).collect(),
        Value::Text(_) => BTreeMap::new(),
    }
}

/// Equal but for what the order of additions does.
fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

pub(crate) fn same(a: &Answer, b: &Answer) -> bool {
    let points = |(x, y): (&(i64, f64), &(i64, f64))| x.0 == y.0 && close(x.1, y.1);
    a.len() == b.len()
        && a.iter().zip(b).all(|((l, p), (m, q))| l == m && p.len() == q.len() && p.iter().zip(q).all(points))
}

#[test]
fn the_answers_are_those_of_prometheus() {
    let memory = Memory(samples());
    let dir = tempfile::tempdir().unwrap();
    let Some((_running, url)) = prometheus(dir.path(), &memory.0) else { return };
    let (mut differ, mut errors, mut some) = (Vec::new(), 0, 0);
    let all = expressions();
    let (at, from, step) = (AT / 1000, OVER.from / 1000, OVER_STEP / 1000);
    for text in &all {
        let query = Query::parse(text);
        let instant = query.clone().and_then(|q| q.instant(&memory, AT, Limits::default()));
        let over = query.and_then(|q| q.range(&memory, OVER, OVER_STEP, Limits::default()));
        let over = over.map(|series| ours(Value::Matrix(series)));
        let [at, from, step] = [at, from, step].map(|n| n.to_string());
        let asked = [
            (instant.map(ours), ask(&url, "query", &[("query", text), ("time", &at)])),
            (
                over,
                ask(&url, "query_range", &[("query", text), ("start", &from), ("end", &at), ("step", &step)]),
            ),
        ];
        for (ours, theirs_said) in asked {
            match (ours, theirs_said.as_ref().map(theirs)) {
                (Err(_), None) => errors += 1,
                (Ok(a), Some(b)) if same(&a, &b) => some += usize::from(!a.is_empty()),
                (a, b) => differ.push(format!("{text}\n  ours   {a:?}\n  theirs {b:?}")),
            }
        }
    }
    eprintln!("{} expressions, {some} answers that are not empty, {errors} errors of both", all.len());
    let shown = &differ[..differ.len().min(10)];
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), shown.join("\n"));
    assert!(some > all.len(), "a comparison of nothing with nothing");
}

#[test]
fn what_is_not_built_is_an_error_when_it_is_read_and_says_what() {
    let refused = |text: &str| match Query::parse(text) {
        Err(e @ (Error::Unsupported(_) | Error::Syntax(_))) => e.to_string(),
        other => panic!("{text}: {other:?}"),
    };
    for (text, what) in [
        ("histogram_fraction(0, 1, h)", "the function histogram_fraction()"),
        ("limitk(2, up)", "the aggregation limitk"),
        ("sum(rate(up)", "not an expression"),
        ("rate(up)", "not an expression"),
        ("nosuch(up)", "not an expression"),
    ] {
        let said = refused(text);
        assert!(said.contains(what), "{text}: {said}");
    }
}

#[test]
fn an_evaluation_keeps_to_its_limits() {
    let memory = Memory(samples());
    let limits = Limits { points_max: 100, ..Limits::default() };
    let said = Query::parse("rate(c_total[30m])").unwrap().instant(&memory, AT, limits).unwrap_err();
    assert_eq!(said, Error::TooMuch("100 points".into()));
    let long = Query::parse("up[365d:1s]").unwrap().instant(&memory, AT, Limits::default()).unwrap_err();
    assert!(matches!(long, Error::TooMuch(_)), "{long}");
    let wide = Window { from: 0, to: AT };
    let said = Query::parse("up").unwrap().range(&memory, wide, 1000, Limits::default()).unwrap_err();
    assert!(matches!(said, Error::TooMuch(_)), "{said}");
}

#[test]
fn no_text_makes_the_language_panic() {
    let memory = Memory(Vec::new());
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    let words = "(sum|rate|by|on|\\(|\\)|\\[5m\\]|\\[5m:\\]|\\{|\\}|a|b|=|=~|\"x\"|\\+|-|/|@|offset|1m|0|1e9|,| ){0,24}";
    runner
        .run(&words, |text: String| {
            if let Ok(query) = Query::parse(&text) {
                let _answer = query.instant(&memory, AT, Limits::default());
            }
            Ok(())
        })
        .unwrap();
}
