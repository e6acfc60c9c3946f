//! The tasks that ask: each probe at its own pace, one try at a time, and all of them once for who asks by hand.

use super::Probe;
use super::ask::Ready;
use super::board::{Board, Clock, Tried};
use crate::client::names::Names;
use crate::host::Host;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Commands at once. What only waits for an answer needs no place: it would take that of others while nobody answers.
const COMMANDS_MAX: usize = 16;
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

/// What all tries share.
#[derive(Clone, Debug)]
struct Around {
    board: Board,
    names: Names,
    places: Arc<Semaphore>,
    clock: Clock,
}

impl Around {
    fn new(board: &Board, names: Names, clock: Clock) -> Self {
        Self { board: board.clone(), names, places: Arc::new(Semaphore::new(COMMANDS_MAX)), clock }
    }
}

impl Prober {
    /// Begins to ask, within a runtime; what is found stands on the board.
    pub fn start(probes: Vec<Ready>, board: &Board, names: Names, clock: Clock) -> Self {
        let mut tasks = JoinSet::new();
        let around = Around::new(board, names, clock);
        let count = u32::try_from(probes.len()).unwrap_or(u32::MAX).max(1);
        for (i, probe) in (0_u32..).zip(probes) {
            let around = around.clone();
            let wait = probe.probe.interval.min(SPREAD_MAX) * i / count;
            tasks.spawn(async move {
                tokio::time::sleep(wait).await;
                let mut beat = tokio::time::interval(probe.probe.interval);
                beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beat.tick().await;
                    around.try_once(&probe, false).await;
                }
            });
        }
        Self { _tasks: tasks }
    }
}

/// Asks all of them once; the first outcome decides, and what commands said is told.
pub async fn once(probes: Vec<Ready>, clock: Clock) -> Board {
    let board = Board::default();
    let probes: Vec<Ready> = probes.into_iter().map(first_decides).collect();
    board.show(&probes.iter().map(|ready| ready.probe.clone()).collect::<Vec<_>>());
    let around = Around::new(&board, Names::default(), clock);
    let mut tasks = JoinSet::new();
    for probe in probes {
        let around = around.clone();
        tasks.spawn(async move { around.try_once(&probe, true).await });
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

impl Around {
    async fn try_once(&self, ready: &Ready, tells_words: bool) {
        let _place = self.place(ready).await;
        let begun = Instant::now();
        let mut result = ready.ask(&self.names).await;
        if let Err(failure) = &mut result
            && !failure.said.is_empty()
        {
            tracing::debug!(component = ready.probe.component, said = failure.said, "a command failed");
            if tells_words {
                failure.why = format!("{}; it said: {}", failure.why, failure.said);
            }
        }
        let why = result.as_ref().err().map(|failure| failure.why.clone());
        let tried = Tried { took: begun.elapsed(), result, now: Instant::now(), wall_millis: (self.clock)() };
        let component = &ready.probe.component;
        match self.board.take(&ready.probe, tried) {
            Some((before, after)) if before == after => {}
            Some((_, after)) if after.serves() => {
                tracing::info!(component, state = after.as_str(), "health");
            }
            Some((_, after)) => tracing::warn!(component, state = after.as_str(), why, "health"),
            None => {}
        }
    }

    /// A place for a command; it is counted if there is none at once.
    async fn place(&self, ready: &Ready) -> Option<SemaphorePermit<'_>> {
        if !ready.is_command() {
            return None;
        }
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        self.board.delay(&ready.probe);
        // It is never closed; without a place the try would only be one of more.
        self.places.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::probe::judge::State;
    use std::net::TcpListener;

    #[test]
    fn those_that_hang_take_nothing_from_those_that_answer() {
        // Whoever connects here is taken, and never answered.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let http = crate::apps::probe::Http { url: format!("http://{to}/"), ..Default::default() };
        let long = Duration::from_mins(2);
        let base = Probe { interval: long, timeout: long, ..Probe::default() };
        let hung = |i| Probe { component: format!("hung{i}"), http: Some(http.clone()), ..base.clone() };
        let good = Probe { component: "good".into(), tcp: Some(to.to_string()), ..base.clone() };
        let probes: Vec<Probe> = (0..40).map(hung).chain([good]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let board = Board::default();
        board.show(&probes);
        runtime.block_on(async {
            let ready = probes.iter().map(|probe| Ready::new(probe, &Host::default()).unwrap()).collect();
            let _prober = Prober::start(ready, &board, Names::default(), || 0);
            let healthy = async {
                let state = || board.health(Instant::now()).unwrap().components.remove(0).state;
                while state() != State::Healthy {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_mins(1), healthy).await.unwrap();
        });
    }

    #[test]
    fn a_command_that_has_to_wait_for_a_place_is_counted() {
        let one = |i: usize| Probe {
            component: format!("c{i:02}"),
            command: ["sleep", "0.2"].map(String::from).into(),
            ..Probe::default()
        };
        let probes: Vec<Probe> = (0..=COMMANDS_MAX).map(one).collect();
        let ready = probes.iter().map(|probe| Ready::new(probe, &Host::default()).unwrap()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let board = runtime.block_on(once(ready, || 0));
        assert_eq!(board.components().iter().map(|c| c.delays).sum::<u64>(), 1);
    }
}
