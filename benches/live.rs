//! The live page: what it costs the exporter while somebody looks at it, and while nobody does.
//!
//! `cargo bench --bench live -- [ROUNDS]`. Rounds with the stream closed and open take turns; processor time is the process's own
//! (`/proc/PID/stat`), so other work on the machine counts for little.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program for people"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(20);
/// The aim: a share of one core while the page is open.
const SHARE_MAX: f64 = 0.01;

struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(["exporter", "--web.listen-address", &address.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the exporter does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address }
    }

    /// Processor seconds that it has used, of all its threads.
    fn seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    fn share(&self) -> f64 {
        let (begun, before) = (Instant::now(), self.seconds());
        std::thread::sleep(ROUND);
        (self.seconds() - before) / begun.elapsed().as_secs_f64()
    }

    /// The same while a page reads the stream, and how many events it got.
    fn share_open(&self) -> (f64, usize) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET /live/events HTTP/1.1\r\nhost: bench\r\n\r\n").unwrap();
        let reader = stream.try_clone().unwrap();
        let events = std::thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.filter(|line| line == "event: now").count()
        });
        let share = self.share();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        (share, events.join().unwrap())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> ExitCode {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let exporter = Exporter::start();
    let (mut closed, mut open) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        closed.push(exporter.share());
        let (share, events) = exporter.share_open();
        let wanted = usize::try_from(ROUND.as_secs() / 2).unwrap() - 2;
        assert!(events >= wanted, "{events} events in a round: the page did not live");
        open.push(share);
        println!(
            "round {round} of {rounds}: {:.3} % closed, {:.3} % open",
            closed[round - 1] * 100.0,
            share * 100.0
        );
    }
    let (closed, open) = (median(closed), median(open));
    let met = open <= SHARE_MAX;
    println!(
        "of one core, at the median: {:.3} % with the page closed, {:.3} % with it open (aim {} %): {}",
        closed * 100.0,
        open * 100.0,
        SHARE_MAX * 100.0,
        if met { "met" } else { "MISSED" }
    );
    ExitCode::from(u8::from(!met))
}
