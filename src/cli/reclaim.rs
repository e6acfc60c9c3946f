//! `headroom reclaim`: a run by hand, through the running optimizer, or by an engine of its own where none runs.

mod here;

use super::remote::{self, Optimizer};
use crate::config::Config;
use crate::optimize::api::by_hand::{Queued, Reclaim};
use anyhow::{Result, bail};
use bytesize::ByteSize;
use here::Here;
use hyper::Method;
use serde_json::Value;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// What follows the options.
pub(super) const HELP: &str = "Exit status: 0 effective (or a dry run), 1 not, or not in time, 2 it could not be done.\n\
    Guards hold for this run as for all others: it may have to wait for a cool-down.";

/// How often the record is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Flags of `headroom reclaim`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The target, one of optimizer.targets
    target: String,
    /// How much to free, 500MiB for example
    #[arg(long, value_name = "N")]
    bytes: ByteSize,
    /// The actions to try, mildest first [default: the ladder of the policy that leads to the target]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    ladder: Vec<String>,
    /// Decide and record, but do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the run's number and end, instead of waiting for its outcome
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the outcome; the run goes on after that
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    api: remote::Args,
}

impl Args {
    /// Asks, and follows the run in the record.
    pub(super) fn run(&self, config: &Config) -> Result<u8> {
        let asked = Reclaim {
            target: self.target.clone(),
            bytes: self.bytes.as_u64(),
            ladder: self.ladder.clone(),
            dry_run: self.dry_run,
        };
        let mut out = io::stdout();
        let (mut way, run) = if self.api.nobody_listens(config) {
            if self.no_wait {
                bail!("no optimizer runs here, so nobody could go on with the run: leave out --no-wait");
            }
            writeln!(out, "no optimizer runs: the run is this command's own")?;
            let (engine, run) = Here::start(config, asked)?;
            (Way::Here(engine), run)
        } else {
            let optimizer = self.api.optimizer(config)?;
            let body = serde_json::to_vec(&asked)?;
            let answer = optimizer.call(Method::POST, "reclaim", Some(body))?;
            let Queued { run } = serde_json::from_slice(&answer)?;
            (Way::Api(Box::new(optimizer)), run)
        };
        if self.no_wait {
            writeln!(out, "{run}")?;
            return Ok(0);
        }
        let followed = self.follow(&mut way, run, &mut out);
        way.end();
        followed
    }

    /// Follows the run in the record until it has ended, and nothing of it stands that this process would have to undo.
    fn follow(&self, way: &mut Way, run: i64, out: &mut impl Write) -> Result<u8> {
        let mut progress = Progress::default();
        let until = Instant::now() + self.timeout;
        loop {
            let entry = way.entry(run)?;
            let ended = text(&entry, "state") == "ended";
            if !progress.ended {
                progress.print(&entry, out)?;
            }
            if ended && !progress.ended && matches!(way, Way::Here(_)) && stands(&entry) {
                writeln!(out, "what was set stays until its time is over, and so does this command")?;
            }
            progress.ended = ended;
            if ended && !(matches!(way, Way::Here(_)) && stands(&entry)) {
                return Ok(code(text(&entry, "result")));
            }
            if way.told_to_end() || Instant::now() > until {
                if ended {
                    return Ok(code(text(&entry, "result")));
                }
                writeln!(out, "run {run} has not ended yet; {}", way.outlook())?;
                return Ok(1);
            }
        }
    }
}

/// Who carries out the run.
enum Way {
    /// The running optimizer.
    Api(Box<Optimizer>),
    /// This process.
    Here(Here),
}

impl Way {
    fn entry(&self, run: i64) -> Result<Value> {
        match self {
            Self::Api(optimizer) => optimizer.entry(run),
            Self::Here(engine) => engine.entry(run),
        }
    }

    /// Waits a little; true if somebody wants this process to end, for which an engine has to be ready.
    fn told_to_end(&mut self) -> bool {
        match self {
            Self::Api(_) => {
                std::thread::sleep(ASK_EVERY);
                false
            }
            Self::Here(engine) => engine.told_to_end(ASK_EVERY),
        }
    }

    fn outlook(&self) -> &'static str {
        match self {
            Self::Api(_) => "the record will have its outcome",
            Self::Here(_) => "it waits in the record for an optimizer",
        }
    }

    fn end(self) {
        if let Self::Here(engine) = self {
            engine.end();
        }
    }
}

/// Whether an effect stands until it is undone.
fn stands(entry: &Value) -> bool {
    let steps = entry.get("steps").and_then(Value::as_array);
    steps.into_iter().flatten().any(|s| s.get("lease_until_millis").is_some_and(|l| !l.is_null()))
}

/// The exit code of a run's result.
fn code(result: &str) -> u8 {
    match result {
        "effective" | "dry_run" => 0,
        "failed" | "no_policy" | "interrupted" => 2,
        _ => 1,
    }
}

/// What was printed of a run so far.
#[derive(Default)]
struct Progress {
    ended: bool,
    reason: String,
    steps_begun: usize,
    steps_ended: usize,
}

impl Progress {
    /// Prints what is new in the run's entry.
    fn print(&mut self, entry: &Value, out: &mut impl Write) -> io::Result<()> {
        let freed = |of: &Value| {
            let bytes = of.get("freed_bytes").and_then(Value::as_u64).unwrap_or_default();
            ByteSize::b(bytes).display().iec().to_string()
        };
        for (number, step) in entry.get("steps").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let (action, state) = (text(step, "action"), text(step, "state"));
            if number >= self.steps_begun {
                writeln!(out, "{action}: begins")?;
                self.steps_begun = number + 1;
            }
            if number >= self.steps_ended && state != "begun" {
                let verdict = Some(text(step, "verdict")).filter(|v| !v.is_empty()).unwrap_or(state);
                writeln!(out, "{action}: {verdict}, {} freed: {}", freed(step), text(step, "detail"))?;
                self.steps_ended = number + 1;
            }
        }
        let reason = text(entry, "reason");
        if text(entry, "state") == "ended" {
            let run = entry.get("id").and_then(Value::as_i64).unwrap_or_default();
            return writeln!(out, "run {run}: {}, {} freed: {reason}", text(entry, "result"), freed(entry));
        }
        if !reason.is_empty() && reason != self.reason {
            writeln!(out, "waiting: {reason}")?;
            reason.clone_into(&mut self.reason);
        }
        Ok(())
    }
}

/// A text of an entry or a step; empty if there is none.
fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}
