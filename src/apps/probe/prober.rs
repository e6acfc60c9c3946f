//! The tasks that ask: each probe at its own pace, one try at a time, and all of them once for who asks by hand.

use super::Probe;
use super::ask::Ready;
use super::board::{Board, Clock, Tried};
use crate::host::Host;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Tries at once, of all probes.
const TRIES_MAX: usize = 16;
/// First tries are spread over at most this.
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// Running probes; they end when it is dropped, with what they have started.
#[derive(Debug, Default)]
pub struct Prober {
    _tasks: JoinSet<()>,
}

/// Reads the files that the probes name; or says which key below `applications` is wrong, and why.
pub fn ready(probes: &[Probe], host: &Host) -> Result<Vec<Ready>, (String, String)> {
    let one = |(i, probe)| Ready::new(probe, host).map_err(|(key, why)| (format!("probes[{i}].{key}"), why));
    probes.iter().enumerate().map(one).collect()
}

impl Prober {
    /// Begins to ask, within a runtime; what is found stands on the board.
    pub fn start(probes: Vec<Ready>, board: &Board, clock: Clock) -> Self {
        let mut tasks = JoinSet::new();
        let places = Arc::new(Semaphore::new(TRIES_MAX));
        let count = u32::try_from(probes.len()).unwrap_or(u32::MAX).max(1);
        for (i, probe) in (0_u32..).zip(probes) {
            let (board, places) = (board.clone(), Arc::clone(&places));
            let wait = probe.probe.interval.min(SPREAD_MAX) * i / count;
            tasks.spawn(async move {
                tokio::time::sleep(wait).await;
                let mut beat = tokio::time::interval(probe.probe.interval);
                beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beat.tick().await;
                    try_once(&probe, &board, &places, clock).await;
                }
            });
        }
        Self { _tasks: tasks }
    }
}

/// Asks all of them once; the first outcome decides.
pub async fn once(probes: Vec<Ready>, clock: Clock) -> Board {
    let board = Board::default();
    let probes: Vec<Ready> = probes.into_iter().map(first_decides).collect();
    board.show(&probes.iter().map(|ready| ready.probe.clone()).collect::<Vec<_>>());
    let places = Arc::new(Semaphore::new(TRIES_MAX));
    let mut tasks = JoinSet::new();
    for probe in probes {
        let (board, places) = (board.clone(), Arc::clone(&places));
        tasks.spawn(async move { try_once(&probe, &board, &places, clock).await });
    }
    tasks.join_all().await;
    board
}

fn first_decides(mut ready: Ready) -> Ready {
    (ready.probe.failures, ready.probe.successes) = (1, 1);
    // All that was found is as old as the slowest of them.
    ready.probe.interval = ready.probe.interval.max(Duration::from_mins(10));
    ready
}

async fn try_once(ready: &Ready, board: &Board, places: &Semaphore, clock: Clock) {
    // The semaphore is never closed; without a place the try would only be one of more.
    let _place = places.acquire().await;
    let begun = Instant::now();
    let result = ready.ask().await;
    let why = result.as_ref().err().map(|failure| failure.why.clone());
    let tried = Tried { took: begun.elapsed(), result, now: Instant::now(), wall_millis: clock() };
    let component = &ready.probe.component;
    match board.take(&ready.probe, tried) {
        Some((before, after)) if before == after => {}
        Some((_, after)) if after.serves() => tracing::info!(component, state = after.as_str(), "health"),
        Some((_, after)) => tracing::warn!(component, state = after.as_str(), why, "health"),
        None => {}
    }
}
