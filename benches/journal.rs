//! A million ended runs in the journal: how soon the optimizer answers, what it keeps in memory, how soon a notification is
//! taken, and that retention makes room.
//!
//! `cargo bench --bench journal -- [RECORDS] [queries]`. With `queries` only what the executor and the path from a stall to its
//! action ask of the record is measured, each question by itself: they hold the lock for which that path waits. The record is written by SQLite itself, as copies of one real run with its
//! step. Half of it is older than the retention. Then the real optimizer is started on it, twice: what is too old goes while
//! it serves.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program for people"
)]

use headroom::optimize::journal::{Journal, NewStep};
use headroom::optimize::record::Filter;
use headroom::optimize::{alert, guard};
use rusqlite::{Connection, params};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RECORDS: i64 = 1_000_000;
/// The aims: seconds to the first answer and to the first notification that is taken, MiB that are its own.
const START_MAX: f64 = 1.0;
const TAKEN_MAX: f64 = 1.0;
const PRIVATE_MIB_MAX: f64 = 30.0;
const DAY_MILLIS: i64 = 86_400_000;

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn notification(fingerprint: &str) -> String {
    format!(
        "{{\"version\":\"4\",\"status\":\"firing\",\"receiver\":\"r\",\"groupKey\":\"g\",\"truncatedAlerts\":0,\"groupLabels\":{{}},\
         \"commonLabels\":{{}},\"commonAnnotations\":{{}},\"externalURL\":\"\",\"alerts\":[{{\"status\":\"firing\",\"fingerprint\":\
         \"{fingerprint}\",\"startsAt\":\"2026-11-21T04:28:00Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\":\"\",\
         \"annotations\":{{\"summary\":\"The group cache holds 640 MiB, and its budget is 500 MiB.\"}},\"labels\":{{\"alertname\":\
         \"ProcessGroupMemoryOverBudget\",\"headroom_action\":\"reclaim\",\"groupname\":\"cache\",\"severity\":\"warning\"}}}}]}}"
    )
}

/// One real run, and so many copies of it, spread over twice the retention.
fn fill(path: &Path, records: i64) {
    let mut journal = Journal::open(path).unwrap();
    let alerts = alert::parse(notification("aa").as_bytes()).unwrap();
    journal.notify(&alerts, now_millis()).unwrap();
    let run = journal.entries(&Filter { limit: 1, ..Default::default() }).unwrap()[0].id;
    journal.begin_run(run, "give-back", "cache").unwrap();
    // As long as real ones are.
    let observation =
        format!("{{\"machine\":{{\"available_bytes\":1}},\"padding\":\"{}\"}}", "x".repeat(600));
    let step = NewStep {
        rung: 0,
        action: "app_hook",
        target: "cache",
        plan: "{\"url\":\"x\"}",
        before: &observation,
    };
    journal.begin_step(run, &step, now_millis()).unwrap();
    drop(journal);
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let (now, span) = (now_millis(), 60 * DAY_MILLIS);
    let at = "(?2 - (?1 - n) * (?3 / ?1))";
    let count = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?1)";
    let tables = [
        format!(
            "{count} INSERT INTO episode SELECT printf('%016x', n), {at}, alertname, labels, annotations, {at}, {at}, {at}, {at}, 1, \
             'alert', NULL FROM episode, c"
        ),
        format!(
            "{count} INSERT INTO run SELECT n + 1, printf('%016x', n), {at}, 'ended', 'effective', '96 MiB freed', policy, target, {at}, \
             0, {at} FROM run, c"
        ),
        format!(
            "{count} INSERT INTO step (id, run, rung, action, target, state, plan, begun_at, ended_at, verdict, freed_bytes, detail, \
             before, after) SELECT n + 1, n + 1, 0, action, target, 'done', plan, {at}, {at}, 'freed', 100000000, 'released', \
             before, before FROM step, c"
        ),
    ];
    let begun = Instant::now();
    for sql in tables {
        db.execute(&sql, params![records, now, span]).unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mib = fs::metadata(path).unwrap().len() >> 20;
    println!("{records} records in {mib} MiB, written in {:.1} s", begun.elapsed().as_secs_f64());
}

/// Microseconds that each question takes which is asked while others wait for the lock.
fn questions(path: &Path) {
    const TIMES: u32 = 20;
    let journal = Journal::open(path).unwrap();
    let now = now_millis();
    let windows = guard::windows(now, &guard::Options::default());
    let show = |what: &str, ask: &dyn Fn()| {
        ask();
        let begun = Instant::now();
        (0..TIMES).for_each(|_| ask());
        println!("{what:<52} {:>10.0} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES));
    };
    show("effects that are due, each turn", &|| drop(journal.leases_due(now).unwrap()));
    show("runs that may go on, each turn", &|| drop(journal.runnable(0, (now, 1), 32).unwrap()));
    show("aftermaths that are due, each turn", &|| drop(journal.aftermaths_due(now).unwrap()));
    show("open runs, each turn", &|| _ = journal.open_counts().unwrap());
    show("what guards ask, twice before an action", &|| _ = journal.past(0, "cache", &windows).unwrap());
    show("the action's past, before an action", &|| drop(journal.history("app_hook", "cache").unwrap()));
    show("the past of an action never taken", &|| drop(journal.history("kill", "cache").unwrap()));
    show("the last tries, before an action", &|| drop(journal.tries("app_hook", "cache", None, 28).unwrap()));
    show("the last tries of a kind never taken", &|| {
        drop(journal.tries("app_hook", "cache", Some("gc"), 28).unwrap());
    });
    show("what was tried in two hours, every five seconds", &|| {
        drop(journal.tried(now - 7_200_000).unwrap());
    });
    show("what was ever tried, for the report", &|| {
        let mut last = journal.next_tried(None).unwrap();
        while let Some(tried) = last {
            last = journal.next_tried(Some(&tried)).unwrap();
        }
    });
    let none = Filter { limit: 50, alertname: Some("none".into()), ..Filter::default() };
    show("a page of an alert that there never was, in one go", &|| drop(journal.entries(&none).unwrap()));
}

fn ask(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\nConnection: close\r\n\r\n"
    );
    ask(address, &request)
}

/// Seconds until something is so.
fn until(begun: Instant, what: &str, mut so: impl FnMut() -> bool) -> f64 {
    while !so() {
        assert!(begun.elapsed() < Duration::from_mins(10), "{what}: not within 10 min");
        std::thread::sleep(Duration::from_millis(2));
    }
    begun.elapsed().as_secs_f64()
}

fn private_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = text.lines().filter(|l| l.starts_with("Private_")).filter_map(|l| l.split_whitespace().nth(1));
    kib.filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / 1024.0
}

fn main() -> ExitCode {
    let records = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(RECORDS);
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(dir.path().join("token"), "let-me-in\n").unwrap();
    let text =
        format!("state_dir: {}\noptimizer:\n  listen: {address}\n  token_file: token\n", state.display());
    fs::write(dir.path().join("headroom.yaml"), text).unwrap();
    let journal = state.join("journal.sqlite");
    fill(&journal, records);
    questions(&journal);
    if std::env::args().any(|word| word == "queries") {
        return ExitCode::SUCCESS;
    }
    let mut met = true;
    for (n, what) in ["with what is too old", "again"].into_iter().enumerate() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
        command.args(["optimizer", "--config"]).arg(dir.path().join("headroom.yaml"));
        let log = File::create(dir.path().join("log")).unwrap();
        let begun = Instant::now();
        let child = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let answers = until(begun, "it answers", || {
            get(address, "/-/ready").is_some_and(|a| a.starts_with("HTTP/1.1 200"))
        });
        let (body, sent) = (notification(&format!("bb{n:02}")), Instant::now());
        let request = format!(
            "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let taken = until(sent, "a notification is taken", || {
            ask(address, &request).is_some_and(|a| a.starts_with("HTTP/1.1 200"))
        });
        let page = Instant::now();
        let newest = get(address, "/api/v1/actions?limit=50").unwrap();
        let shown = page.elapsed().as_secs_f64();
        let private = private_mib(child.0.id());
        println!(
            "{what:<22} ready after {answers:.3} s, a notification taken in {taken:.3} s, a page of {} KiB in {shown:.3} s, {private:.1} MiB of its own",
            newest.len() >> 10
        );
        met &= answers < START_MAX && taken < TAKEN_MAX && private < PRIVATE_MIB_MAX;
        // Retention has its time; it is not to be cut off. The oldest have the lowest numbers.
        let half = records / 2 - records / 50;
        let path = format!("/api/v1/actions?limit=1&before={half}");
        let gone = until(begun, "what is too old has gone", || {
            std::thread::sleep(Duration::from_millis(100));
            get(address, &path).is_some_and(|answer| answer.contains("\"entries\":[]"))
        });
        let private = private_mib(child.0.id());
        met &= private < PRIVATE_MIB_MAX;
        println!("{:<22} what is too old has gone after {gone:.1} s, {private:.1} MiB of its own", "");
    }
    let size = |name: &str| fs::metadata(state.join(name)).map_or(0, |m| m.len() >> 20);
    println!(
        "the journal has {} MiB, and {} MiB beside it",
        size("journal.sqlite"),
        size("journal.sqlite-wal")
    );
    println!("{}", if met { "MET" } else { "MISSED" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
