//! An engine of this command's own, for a machine on which no optimizer runs: the same executor, guards and record.

use crate::cli::service::{make_state_dir, now_millis, settings, state_dir};
use crate::cli::telemetry::Telemetry;
use crate::config::Config;
use crate::optimize::api::by_hand::Reclaim;
use crate::optimize::executor::{Around, Executor};
use crate::optimize::grafana::Annotations;
use crate::optimize::journal::Journal;
use crate::optimize::metrics::Metrics;
use crate::optimize::pause::Pause;
use crate::optimize::record::Filter;
use crate::optimize::store::Store;
use anyhow::{Context, Result, anyhow, bail};
use prometheus::Registry;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Time for a run that acts to write its outcome.
const GRACE: Duration = Duration::from_secs(4);

/// The engine.
pub(super) struct Here {
    executor: Executor,
    telemetry: Telemetry,
    runtime: Runtime,
    signals: [Signal; 2],
}

impl Here {
    /// Takes the journal, which is one process's alone, and begins with the run; returns its number.
    pub(super) fn start(config: &Config, asked: Reclaim) -> Result<(Self, i64)> {
        let wish = asked.checked(&config.optimizer).map_err(|why| anyhow!(why))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Whoever ends this command leaves nothing behind: a brake is undone first.
        let signals = runtime.block_on(async {
            std::io::Result::Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
        })?;
        let (state, registry) = (state_dir(config), Registry::new());
        make_state_dir(&state).with_context(|| state.display().to_string())?;
        let journal = state.join("journal.sqlite");
        not_for_others(&state, &journal)?;
        let metrics = Metrics::new(&registry)?;
        let store = Store::new(journal, metrics.clone());
        if let Err(e) = store.with(Journal::probe) {
            if e.held_elsewhere {
                bail!(
                    "{e}. An optimizer runs, but not at optimizer.listen ({}): give its address with --url",
                    config.optimizer.listen
                );
            }
            return Err(anyhow!(e).context("without a record nothing is done"));
        }
        // What waits there for other reasons waits on: this command was asked for one run.
        let newest = store.with(|j| j.entries(&Filter { limit: 1, ..Filter::default() }))?;
        let only_after = Some(newest.first().map_or(0, |entry| entry.id));
        let mut settings = settings(config)?;
        settings.options.pressure.rules.clear();
        settings.options.proactive.clear();
        let mut telemetry = Telemetry::default();
        let (pause, traces) = (Pause::new(&state), telemetry.runs(config, &registry)?);
        let annotations = Annotations::start(config.optimizer.grafana.as_ref(), &metrics)?;
        let around = Around { clock: now_millis, pause, alone: false, traces, annotations, only_after };
        let executor = Executor::start(store, metrics, around, settings)?;
        let shared = executor.shared();
        let arrival = shared.traces.seen(Duration::ZERO);
        let run = shared.store.with(|j| {
            let run = j.request(&wish, now_millis())?;
            shared.traces.queued(run, &arrival, &[("headroom.origin", "hand")]);
            Ok(run)
        })?;
        shared.wake();
        Ok((Self { executor, telemetry, runtime, signals }, run))
    }

    /// The record's entry of a run.
    pub(super) fn entry(&self, run: i64) -> Result<Value> {
        let filter = Filter { limit: 1, before: Some(run.saturating_add(1)), ..Filter::default() };
        let entries = self.executor.shared().store.with(|j| j.entries(&filter))?;
        let entry = entries.first().filter(|e| e.id == run);
        Ok(serde_json::to_value(entry.ok_or_else(|| anyhow!("the record has no run {run}"))?)?)
    }

    /// Waits so long; true at once if somebody wants this process to end.
    pub(super) fn told_to_end(&mut self, wait: Duration) -> bool {
        let [terminate, interrupt] = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = tokio::time::sleep(wait) => false,
            }
        })
    }

    /// Undoes what stands, writes what is to be written, and lets the journal go.
    pub(super) fn end(self) {
        self.executor.stop(GRACE);
        self.telemetry.stop();
    }
}

/// A new journal belongs to who makes it: root's in a directory of the optimizer's user would keep the optimizer out.
fn not_for_others(state: &Path, journal: &Path) -> Result<()> {
    let owner = std::fs::metadata(state).with_context(|| state.display().to_string())?.uid();
    if !journal.exists() && owner != rustix::process::geteuid().as_raw() {
        bail!(
            "{} belongs to user {owner}, and there is no journal yet: start the optimizer once, or run this command as that \
             user",
            state.display()
        );
    }
    Ok(())
}
