//! What a scrape costs: `headroom exporter` and node_exporter side by side, on this machine, in turns.
//!
//! CPU time is the kernel's own account of each thread (`/proc/PID/task/*/schedstat`, nanoseconds), so that neither
//! this program nor other work on the machine is counted. Both are asked in turns, over a kept connection, as they are
//! and with gzip as Prometheus asks; the median of the rounds counts. Beside them stands what the kernel alone costs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for people"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as above"
)]

mod floor;
mod instructions;
mod server;
mod sides;

use floor::Floor;
use server::{Coding, Server, print_head};
use sides::{NodeExporter, WITHOUT_OURS, WITHOUT_OWN, headroom, only};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The aims: CPU as a part of node_exporter's, and memory that is this process's alone.
const CPU_RATIO_MAX: f64 = 1.0 / 12.0;
const GZIP_CPU_RATIO_MAX: f64 = 1.0 / 10.0;
const TEXTFILE_CPU_RATIO_MAX: f64 = 1.0 / 5.0;
/// The aim for CPU as a multiple of what reading the same files costs.
const FLOOR_RATIO_MAX: f64 = 2.0;
const PRIVATE_MIB_MAX: f64 = 4.0;
/// Before anything is counted, each program has this long: some of ours are at rest only after a while.
const WARM_UP: Duration = Duration::from_secs(4);
const TEXTFILE_SERIES: usize = 100_000;

/// How often both are asked.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u32,
    scrapes: u32,
}

const MUCH: Effort = Effort { rounds: 25, scrapes: 20 };
/// For pages of which each takes node_exporter most of a second.
const LITTLE: Effort = Effort { rounds: 5, scrapes: 2 };

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run())
}

/// What a comparison gave.
struct Compared {
    /// Our CPU time as a part of the other's.
    ratio: f64,
    /// The same as a multiple of the floor.
    floors: f64,
    private_mib: f64,
}

/// Asks both in turns and prints what each costs. One process of a program at a time: a second one would share its pages
/// and make both look smaller.
async fn compare(first: Server, second: Server, effort: Effort) -> Compared {
    let mut servers = [first, second];
    for server in &mut servers {
        let begun = Instant::now();
        while begun.elapsed() < WARM_UP {
            server.scrape().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut floor = Floor::of(servers[1].pid());
    for round in 1..=effort.rounds {
        for server in &mut servers {
            server.round(effort.scrapes).await;
        }
        floor.round(effort.scrapes);
        eprint!("\r{round}/{} rounds of {} scrapes, in turns\r", effort.rounds, effort.scrapes);
    }
    eprint!("{:60}\r", "");
    let [first, second] = &servers;
    first.print();
    second.print();
    floor.print();
    say_difference(first, second);
    Compared {
        ratio: second.cpu() / first.cpu(),
        floors: second.cpu() / floor.cpu(),
        private_mib: second.memory().1,
    }
}

/// Says how many series only one of them has, but for those about the programs themselves.
fn say_difference(first: &Server, second: &Server) {
    const OWN: [&str; 6] = ["go_", "promhttp_", "process_", "headroom_", "node_scrape_", "node_exporter_"];
    let of_host = |server: &Server| {
        let mut series = server.series();
        series.retain(|name| !OWN.iter().any(|own| name.starts_with(own)));
        series
    };
    let (theirs, ours) = (of_host(first), of_host(second));
    let both = ours.intersection(&theirs).count();
    println!(
        "    {both} series of the machine are the same, {} more only there, {} only here",
        theirs.len() - both,
        ours.len() - both
    );
}

/// Files of 10,000 samples each.
fn write_textfiles(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for file in 0..TEXTFILE_SERIES / 10_000 {
        let mut text = String::new();
        for family in 0..10 {
            let name = format!("app{file}_requests{family}_total");
            writeln!(text, "# HELP {name} Requests by path.\n# TYPE {name} counter").unwrap();
            for i in 0..1000 {
                let labels = format!("path=\"/api/v1/item/{i}\",method=\"GET\",code=\"200\"");
                writeln!(text, "{name}{{{labels}}} {}.5", i * 37 + family).unwrap();
            }
        }
        std::fs::write(dir.join(format!("{file}.prom")), text).unwrap();
    }
}

async fn run() -> ExitCode {
    let Some(node) = NodeExporter::find() else {
        eprintln!(
            "node_exporter is not installed (Debian, Ubuntu: apt-get install prometheus-node-exporter)"
        );
        return ExitCode::from(2);
    };
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let met = measure(&node, &dir).await;
    let _left = std::fs::remove_dir_all(&dir);
    ExitCode::from(u8::from(!met))
}

/// All comparisons; whether every aim is met.
async fn measure(node: &NodeExporter, dir: &Path) -> bool {
    let both = node.shared_defaults();
    println!("{} collectors run by default in both: {}\n", both.len(), both.join(" "));
    print_head();
    let collectors = format!("collectors: {{disable_defaults: true, enabled: [{}]}}", both.join(", "));
    let same = format!("{WITHOUT_OURS}{collectors}");
    let flags = [only(&both), vec![WITHOUT_OWN.to_owned()]].concat();
    let theirs = node.start("the same series", &flags, Coding::Plain).await;
    let ours = headroom("headroom, the same series", &[], &same, dir, Coding::Plain).await;
    let plain = compare(theirs, ours, MUCH).await;
    let theirs = node.start("the same, gzip", &flags, Coding::Gzip).await;
    let ours = headroom("headroom, the same series, gzip", &[], &same, dir, Coding::Gzip).await;
    let gzip = compare(theirs, ours, MUCH).await;
    let theirs = node.start("and about itself", &only(&both), Coding::Plain).await;
    let ours = headroom("headroom, and about itself", &[], &collectors, dir, Coding::Plain).await;
    let own = compare(theirs, ours, MUCH).await;

    let files = dir.join("textfiles");
    write_textfiles(&files);
    let mut flags = only(&["textfile".to_owned()]);
    flags.push(format!("--collector.textfile.directory={}", files.display()));
    let theirs = node.start("100,000 textfile series", &flags, Coding::Plain).await;
    let options = format!(
        "collectors: {{disable_defaults: true, enabled: [textfile], textfile: {{directories: ['{}']}}}}",
        files.display()
    );
    let ours = headroom("headroom, the same files", &[], &options, dir, Coding::Plain).await;
    let textfile = compare(theirs, ours, LITTLE).await;

    let theirs = node.start("its defaults", &[], Coding::Plain).await;
    let ours =
        headroom("headroom, its defaults (with all processes)", &[], "collectors: {}", dir, Coding::Plain)
            .await;
    let all = compare(theirs, ours, MUCH).await;

    match instructions::per_scrape(&same, dir, Coding::Plain).await {
        Some(count) => println!("\ninstructions of its own per scrape, the same series: {count:.0}"),
        None => println!("\nSKIPPED: instructions per scrape (valgrind is not installed)"),
    }
    println!("with what both tell about themselves: {:.3} of node_exporter's", own.ratio);
    let private = plain.private_mib.max(gzip.private_mib).max(all.private_mib);
    println!();
    [
        ("CPU for the same series, of node_exporter's", plain.ratio, CPU_RATIO_MAX),
        ("CPU, times the pread floor", plain.floors, FLOOR_RATIO_MAX),
        ("CPU with gzip, of node_exporter's", gzip.ratio, GZIP_CPU_RATIO_MAX),
        ("CPU for 100,000 textfile series, of node_exporter's", textfile.ratio, TEXTFILE_CPU_RATIO_MAX),
        ("private memory in MiB", private, PRIVATE_MIB_MAX),
    ]
    .map(|(what, value, aim)| {
        let met = value <= aim;
        println!("{what}: {value:.3} (aim: at most {aim:.3}): {}", if met { "met" } else { "MISSED" });
        met
    })
    .into_iter()
    .all(|met| met)
}
