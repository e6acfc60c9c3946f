//! A machine without Prometheus: the same answers to the same questions, and the loop closes.

use crate::promql::{Answer, Memory, ask, ours_at, prometheus, same, theirs};
use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use headroom::client::{Call, send_blocking};
use headroom::collect::{Options, Scraper};
use headroom::export::passes::Passes;
use headroom::exporter::scrapes::Recorded;
use headroom::host::Host;
use headroom::host::group::Rule;
use headroom::metric::batch::Recorder;
use headroom::monitor::group::{Around, Group};
use headroom::monitor::history::History;
use headroom::monitor::rules;
use headroom::promql::{Limits, Point, Query, Series, Source, Value, Window, is_stale};
use headroom::stack::files::RULES;
use hyper::Method;
use rustix::process::Signal;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The first pass, and how often there is one.
const BEGIN: i64 = 1_700_000_000_000;
const EVERY: i64 = 15_000;
const PASSES: i64 = 60;
const ALL: Window = Window { from: 0, to: i64::MAX };

/// Passes over this machine with what the rules make of them, without series that ended: those cannot be told to Prometheus.
fn samples() -> Vec<Series> {
    let mut options = Options::default();
    options.process_groups.rules =
        vec![Rule { name: "all".into(), cmdline: vec![".".into()], ..Rule::default() }];
    let scraper = Scraper::new(Host::default(), &options).unwrap();
    let labels = [("job", "node"), ("instance", "web1:9177")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut passes = Passes::new(labels.into());
    let (history, external) = (History::new(256 << 20), BTreeMap::new());
    let around = Around { history: &history, limits: Limits::default(), external: &external };
    let all = RULES.iter().flat_map(|(file, text)| rules::read(file, text).unwrap());
    let mut groups: Vec<Group> = all.map(|group| Group::new(group, Duration::from_secs(15))).collect();
    for pass in 0..PASSES {
        let (begun, mut sink, at) = (Instant::now(), Recorder::default(), BEGIN + pass * EVERY);
        scraper.clone().scrape(&mut sink);
        passes.next(Recorded { batch: sink.finish(), begun }, at, &mut |_, _, _| (), &mut |(
            labels,
            value,
            at,
        )| {
            history.append_foreign(at, [(labels, Point { at, value })]);
        });
        for group in groups.iter_mut().filter(|group| group.is_due(at)) {
            assert_eq!(group.evaluate(&around, at), 0);
        }
    }
    let mut all = history.select(&[], ALL, usize::MAX).unwrap();
    all.retain(|series| !series.points.iter().any(|p| is_stale(p.value)));
    // Sample times of text files are their own; Prometheus would want them in order.
    all.retain(|series| series.points.iter().all(|p| (p.at - BEGIN) % EVERY == 0));
    all
}

/// All expressions of rules and dashboards, with the variables of dashboards filled in.
fn expressions() -> BTreeSet<String> {
    fn walk(json: &Json, out: &mut BTreeSet<String>) {
        match json {
            Json::Object(fields) => {
                if let Some(expr) = fields.get("expr").and_then(Json::as_str) {
                    out.insert(filled(expr));
                }
                fields.values().for_each(|field| walk(field, out));
            }
            Json::Array(items) => items.iter().for_each(|item| walk(item, out)),
            _ => {}
        }
    }
    fn filled(expr: &str) -> String {
        let (mut out, mut rest) = (String::new(), expr);
        while let Some((before, after)) = rest.split_once('$') {
            let inner = after.strip_prefix('{');
            let name = inner.unwrap_or(after);
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            out += before;
            out += match &name[..end] {
                "__rate_interval" => "1m",
                "__range" => "15m",
                "__interval" => "15s",
                _ => ".*",
            };
            rest = name[end..].strip_prefix('}').filter(|_| inner.is_some()).unwrap_or(&name[end..]);
        }
        out + rest
    }
    let mut out = BTreeSet::new();
    for (file, text) in RULES {
        let groups = rules::read(file, text).unwrap();
        out.extend(groups.into_iter().flat_map(|group| group.rules).map(|rule| rule.text));
    }
    let dashboards = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    for entry in std::fs::read_dir(dashboards).unwrap() {
        walk(&serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap(), &mut out);
    }
    out
}

/// The values of an answer by their times: which of equals topk() takes is nobody's promise.
fn values(answer: &Answer) -> BTreeMap<i64, Vec<u64>> {
    let mut out: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for &(at, value) in answer.values().flatten() {
        out.entry(at).or_default().push(value.to_bits());
    }
    for values in out.values_mut() {
        values.sort_unstable();
    }
    out
}

#[test]
fn rules_and_dashboards_get_the_answers_of_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let all = samples();
    let Some((_running, url)) = prometheus(dir.path(), &all) else { return };
    let memory = Memory(all);
    let at = BEGIN + (PASSES - 1) * EVERY;
    let over = Window { from: at - 300_000, to: at };
    let (mut differ, mut some) = (Vec::new(), 0);
    let expressions = expressions();
    assert!(expressions.len() > 200, "{}", expressions.len());
    for text in &expressions {
        let query = Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let instant = query.instant(&memory, at, Limits::default()).map(|value| ours_at(value, at));
        let range = query.range(&memory, over, EVERY, Limits::default());
        let range = range.map(|series| ours_at(Value::Matrix(series), at));
        let [time, from, step] = [at / 1000, over.from / 1000, EVERY / 1000].map(|n| n.to_string());
        let asked: [(_, Option<Json>); 2] = [
            (instant, ask(&url, "query", &[("query", text), ("time", &time)])),
            (
                range,
                ask(
                    &url,
                    "query_range",
                    &[("query", text), ("start", &from), ("end", &time), ("step", &step)],
                ),
            ),
        ];
        for (ours, said) in asked {
            let theirs: Option<Answer> = said.as_ref().map(theirs);
            match (ours, theirs) {
                (Ok(a), Some(b)) if same(&a, &b) || (text.contains("topk(") && values(&a) == values(&b)) => {
                    some += usize::from(!a.is_empty());
                }
                (a, b) => differ.push(format!("{text}\n  ours   {a:?}\n  theirs {b:?}")),
            }
        }
    }
    eprintln!("{} expressions, {some} answers that are not empty", expressions.len());
    assert!(some > expressions.len() / 2, "a comparison of nothing with nothing: {some}");
    let shown = &differ[..differ.len().min(5)];
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), shown.join("\n"));
}

/// A directory with links to all programs that `up` may find, but these.
fn without(dir: &Path, names: &[&str]) -> std::path::PathBuf {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["python3", "sh", "prometheus", "prometheus-alertmanager", "alertmanager"] {
        let found = headroom::stack::supervise::find(&[name], &std::env::var_os("PATH").unwrap_or_default());
        if let Some(path) = found.filter(|_| !names.contains(&name)) {
            std::os::unix::fs::symlink(path, bin.join(name)).unwrap();
        }
    }
    bin
}

fn demo_without(names: &[&str]) -> Json {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(HEADROOM)
        .args(["demo", "--json"])
        .env("PATH", without(dir.path(), names))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap()
}

#[test]
fn the_loop_closes_with_nothing_else_installed() {
    let _alone = crate::reclaim::alone();
    let summary = demo_without(&["prometheus", "prometheus-alertmanager", "alertmanager"]);
    assert_eq!(summary["closed"], true, "{summary:#}");
    assert!(summary["freed_bytes"].as_u64().unwrap() >= 8 << 20, "{summary:#}");
}

#[test]
fn the_loop_closes_by_way_of_a_real_alertmanager() {
    if program(&["prometheus-alertmanager", "alertmanager"]).is_none() {
        return;
    }
    let _alone = crate::reclaim::alone();
    let summary = demo_without(&["prometheus"]);
    assert_eq!(summary["closed"], true, "{summary:#}");
}

/// `headroom up` without Prometheus, and the address where that would be.
fn up(dir: &Path) -> (Running, String) {
    let [exporter, optimizer, monitor] = [free_address(), free_address(), free_address()];
    let state = dir.join("state");
    let config = format!(
        "state_dir: {}\nexporter: {{listen: '{exporter}'}}\noptimizer: {{listen: '{optimizer}', targets: [{{name: self, process_group: self}}]}}\n\
         process_groups: [{{name: self, cmdline: ['{}'], memory_budget: 64GiB}}]\n\
         up: {{interval: 1s, prometheus: {{listen: '{monitor}', enabled: false}}, alertmanager: {{enabled: false}}}}\nmonitor: {{enabled: true}}\n",
        state.display(),
        dir.display()
    );
    std::fs::write(dir.join("headroom.yaml"), config).unwrap();
    let mut command = Command::new(HEADROOM);
    command.arg("up").arg("--config").arg(dir.join("headroom.yaml"));
    let running = Running::start(&mut command, &dir.join("log"));
    let url = format!("http://{monitor}");
    eventually("the monitor has rules evaluated", 60, || {
        let data = ask_if_there(&url, "query?query=count(up==1)")?;
        (data["result"][0]["value"][1] == "2").then_some(())
    });
    (running, url)
}

fn ask_if_there(url: &str, path: &str) -> Option<Json> {
    let (status, body) = get(&format!("{url}/api/v1/{path}"))?;
    let answer: Json = serde_json::from_str(&body).ok()?;
    (status == 200 && answer["status"] == "success").then(|| answer["data"].clone())
}

#[test]
fn the_api_answers_as_prometheus_does() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, url) = up(dir.path());
    let data = |path: &str| {
        ask_if_there(&url, path)
            .unwrap_or_else(|| panic!("{path}: {:?}", get(&format!("{url}/api/v1/{path}"))))
    };
    assert_eq!(
        data("query?query=1%2B1&time=1700000000.5"),
        serde_json::json!({"resultType": "scalar", "result": [1_700_000_000.5, "2"]})
    );
    let series = data("series?match[]=up");
    assert_eq!(series.as_array().unwrap().len(), 2, "{series}");
    assert!(data("labels").as_array().unwrap().contains(&"instance".into()));
    assert_eq!(data("label/job/values"), serde_json::json!(["headroom-optimizer", "node"]));
    assert_eq!(data("status/buildinfo")["revision"], concat!("headroom ", env!("CARGO_PKG_VERSION")));
    assert_eq!(data("targets")["activeTargets"].as_array().unwrap().len(), 2);
    assert_eq!(data("metadata?metric=node_load1")["node_load1"][0]["type"], "gauge");
    let rules = data("rules");
    let rules: Vec<&Json> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert_eq!(rules.len(), RULES.iter().map(|(_, text)| text.matches("expr:").count()).sum::<usize>());
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
    eventually("the alert that always fires", 30, || {
        let alerts = data("alerts");
        let watchdog = |a: &Json| a["labels"]["alertname"] == "Watchdog" && a["state"] == "firing";
        alerts["alerts"].as_array().unwrap().iter().any(watchdog).then_some(())
    });
    for (path, status, kind) in [
        ("query?query=sum(", 400, "bad_data"),
        ("query", 400, "bad_data"),
        ("query?query=up%2Bon(job)up%2Bon()up", 422, "execution"),
        ("query_range?query=up&start=0&end=100000000&step=1", 400, "bad_data"),
        ("query_range?query=up&start=5&end=1&step=1", 400, "bad_data"),
        ("series", 400, "bad_data"),
        ("label/no-name/values", 400, "bad_data"),
        ("query?query=up&time=noon", 400, "bad_data"),
    ] {
        let (got, body) = get(&format!("{url}/api/v1/{path}")).unwrap();
        let answer: Json = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {body}: {e}"));
        assert_eq!(
            (got, &answer["status"], &answer["errorType"]),
            (status, &"error".into(), &kind.into()),
            "{path}: {answer}"
        );
    }
    assert_eq!(get(&format!("{url}/api/v1/nothing")).unwrap().0, 404);
    let post = Call {
        method: Method::POST,
        body: Some(b"type=alert".to_vec()),
        ..Call::get(format!("{url}/api/v1/rules"))
    };
    assert_eq!(send_blocking(post).unwrap().0, 405);
    hostile(&url);
    running.signal(Signal::TERM);
    assert!(running.end(20).success());
}

/// Questions that are too deep, too dear or too long cost themselves alone.
fn hostile(url: &str) {
    let deep = format!("{}1{}", "(".repeat(3000), ")".repeat(3000));
    let signs = format!("{}1", "-".repeat(3000));
    for text in [&deep, &signs, "up[1e30]"] {
        let (status, body) = get(&format!("{url}/api/v1/query?query={text}")).unwrap();
        assert!(status == 400 && body.contains("bad_data"), "{status} {body}");
    }
    // Four that would work for ages, more than there are places for; then the next one is answered all the same.
    let inner = "max_over_time(max_over_time(max_over_time(vector(1)[10000s:1s])[10000s:1s])[10000s:1s])";
    let ask = |timeout: &str| get(&format!("{url}/api/v1/query?timeout={timeout}&query={inner}"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (status, body) = ask("1s").unwrap();
                assert!(status == 503 && body.contains("timeout"), "{status} {body}");
            });
        }
    });
    assert!(ask_if_there(url, "query?query=1").is_some());
    // Without a step, a subquery has that of the evaluations.
    let points = ask_if_there(url, "query?query=count_over_time(vector(1)[20s:])&time=1700000000").unwrap();
    assert_eq!(points["result"][0]["value"][1], "21", "{points}");
}

#[test]
fn dashboards_show_what_there_is_with_headroom_as_their_datasource() {
    if program(&["python3"]).is_none() || program(&["promtool"]).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_running, url) = up(dir.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboards.py");
    let mut said = String::new();
    // Rates want a minute of samples.
    let deadline = Instant::now() + Duration::from_mins(3);
    while Instant::now() < deadline {
        let output = Command::new(&script).arg(&url).output().unwrap();
        if output.status.success() {
            return;
        }
        said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        std::thread::sleep(Duration::from_secs(5));
    }
    panic!("{said}");
}
