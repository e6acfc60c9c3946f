//! How soon a notification is on disk and answered, and how soon it leads to an action.
//!
//! `cargo bench --bench webhook -- [SECONDS] [ROUNDS]`. First 200 notifications a second by HTTP/1.1, each over a connection of
//! its own, as many senders as it takes: from the moment at which one was due to the end of its answer, which comes when the
//! record is written. Then one alert after the other about targets above their budgets: from the first byte sent to the
//! connection that the target's hook gets, with all readings and guards between them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program for people"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/page.rs"]
mod page;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/stack.rs"]
mod stack;

use stack::{Holder, Optimizer, alert, eventually, notification};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PER_SECOND: usize = 200;
const SENDERS: usize = 8;
const SECONDS: usize = 15;
const ROUNDS: usize = 40;
/// Alerts that fire and end, over and over.
const ALERTS: usize = 50;
/// The aims, in milliseconds.
const ANSWER_P99_MAX: f64 = 20.0;
const ACTION_MEDIAN_MAX: f64 = 50.0;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let seconds = arguments.next().unwrap_or(SECONDS);
    let rounds = arguments.next().unwrap_or(ROUNDS);
    let answers = answers(seconds);
    let actions = actions(rounds);
    println!("{:56} {:>8} {:>8} {:>8}", "milliseconds", "median", "p99", "most");
    let what = format!("POST to durable answer, {PER_SECOND} a second, {} in all", answers.len());
    let met = [
        row(&what, &answers, |s| ("p99", quantile(s, 0.99), ANSWER_P99_MAX)),
        row(&format!("POST to first action, {rounds} alerts"), &actions, |s| {
            ("median", quantile(s, 0.5), ACTION_MEDIAN_MAX)
        }),
    ];
    if met.iter().all(|m| *m) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(what: &str, sorted: &[f64], aim: impl Fn(&[f64]) -> (&'static str, f64, f64)) -> bool {
    let (which, value, most) = aim(sorted);
    let met = value <= most;
    println!(
        "{what:56} {:8.2} {:8.2} {:8.2}  aim: {which} at most {most:<4} {}",
        quantile(sorted, 0.5),
        quantile(sorted, 0.99),
        quantile(sorted, 1.0),
        if met { "met" } else { "MISSED" }
    );
    met
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a short list"
)]
fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn sorted(mut millis: Vec<f64>) -> Vec<f64> {
    millis.sort_by(f64::total_cmp);
    millis
}

/// Milliseconds from when each of the notifications was due to its answer.
fn answers(seconds: usize) -> Vec<f64> {
    let optimizer = Optimizer::start("", "");
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let all: Vec<f64> = std::thread::scope(|scope| {
        let send = || {
            let mut out = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= seconds * PER_SECOND {
                    return out;
                }
                // The episode's begin, by which one firing is told from the next, is n's own.
                let (episode, status) = (n / 2, if n % 2 == 0 { "firing" } else { "resolved" });
                let mut alert = alert("nobody", &format!("{:06x}", episode % ALERTS), status);
                let (minute, second) = (episode / ALERTS / 60, episode / ALERTS % 60);
                alert["startsAt"] = format!("2026-11-21T04:{minute:02}:{second:02}.5Z").into();
                let body = notification(&[alert]);
                let due = begun + Duration::from_secs(1) * u32::try_from(n).unwrap() / 200;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (status, why) = optimizer.try_post("let-me-in", body).expect("the connection broke");
                assert_eq!(status, 200, "{why}");
                out.push(due.elapsed().as_secs_f64() * 1e3);
            }
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().flat_map(|s| s.join().unwrap()).collect()
    });
    sorted(all)
}

/// Milliseconds from sending an alert to the connection that its target's hook gets.
fn actions(rounds: usize) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let (hook, calls) = hook();
    let target = |n| {
        format!(
            "    - {{name: t{n}, process_group: held, memory_budget: 1MiB, hook: {{url: 'http://{hook}/'}}}}"
        )
    };
    let targets = (0..rounds).map(target).collect::<Vec<_>>().join("\n");
    let top = format!("process_groups:\n  - name: held\n    cmdline: ['{}']\n", holder.marker);
    let optimizer = Optimizer::start(
        &top,
        &format!(
            "  settle: 100ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, actions_per_hour: 100000, \
             blast_radius: {{targets: 0}}}}\n  targets:\n{targets}\n"
        ),
    );
    let mut all = Vec::new();
    for n in 0..rounds {
        let body = notification(&[alert(&format!("t{n}"), &format!("{n:06x}"), "firing")]);
        let begun = Instant::now();
        let (status, why) = optimizer.try_post("let-me-in", body).expect("the connection broke");
        assert_eq!(status, 200, "{why}");
        let called = calls.recv_timeout(Duration::from_secs(20)).expect("the hook was not called");
        all.push(called.duration_since(begun).as_secs_f64() * 1e3);
        eventually("the run's end", 60, || {
            let newest = optimizer.entries("limit=1").into_iter().next()?;
            (newest["state"] == "ended" && newest["target"] == format!("t{n}")).then_some(())
        });
    }
    sorted(all)
}

/// A hook that gives nothing back, and the moments of its calls.
fn hook() -> (SocketAddr, Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, calls) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if tell.send(Instant::now()).is_err() {
                return;
            }
            answer(stream);
        }
    });
    (address, calls)
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{\"released_bytes\": 0}";
    _ = stream.write_all(text.as_bytes());
}
