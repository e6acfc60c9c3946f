//! The poll thread: reads, decides, tells the desk. Once it runs, it allocates nothing and takes no lock that is held for
//! longer than a comparison.

use super::super::executor::{Settings, Shared};
use super::board::Seat;
use super::desk;
use super::pace::{Pace, Signs, Trend};
use super::watch::{News, Sample};
use crate::host::resident;
use crate::host::stall::{Rooms, Stalls};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

/// How long it sleeps without rules; whoever brings some wakes it.
const IDLE: Duration = Duration::from_hours(1);
/// How often it is asked whether what an interruption left behind is known.
const BEFORE: Duration = Duration::from_millis(100);
/// What the desk can have before it.
const INBOX: usize = 256;
/// The watches' clock does not begin at nothing: a wait before its first moment has a place on it.
const EPOCH: Duration = Duration::from_hours(1);

/// A rule, and what is read for it.
struct Eye {
    seat: Arc<Seat>,
    stalls: Stalls,
    group: Option<(Rooms, Trend)>,
}

/// All that is read.
struct Poller {
    shared: Arc<Shared>,
    /// The settings that the eyes are made from.
    settings: Arc<Settings>,
    epoch: Instant,
    eyes: Vec<Eye>,
    machine: Rooms,
    trend: Trend,
    free: Trend,
    pace: Pace,
    /// The highest share of available memory that a rule calls trouble.
    share: f64,
}

/// Starts the thread. Without rules it sleeps.
pub(in crate::optimize) fn start(shared: &Arc<Shared>, alone: bool) -> std::io::Result<()> {
    let work = Arc::clone(shared);
    let thread = Builder::new().name("pressure".into()).spawn(move || run(&work, alone))?;
    // It is the only one.
    let _first = shared.pressure.poller.set(thread.thread().clone());
    Ok(())
}

fn run(shared: &Arc<Shared>, alone: bool) {
    let mut team: Option<Team> = None;
    let mut poller = Poller::new(shared);
    while !shared.stopping() {
        let settings = shared.settings();
        if poller.sees(&settings) {
            poller.settings = settings;
        } else {
            let old = std::mem::replace(&mut poller, Poller::new(shared));
            if let Some(team) = &team {
                team.over(old.eyes.iter().map(|eye| &eye.seat));
            }
        }
        if poller.eyes.is_empty() {
            std::thread::park_timeout(IDLE);
            continue;
        }
        if !shared.recovered() {
            std::thread::park_timeout(BEFORE);
            continue;
        }
        if team.is_none() {
            team = Team::start(shared, alone);
            if let Err(e) = resident::hurry() {
                tracing::info!(error = %e, "a stall is seen when a processor is free; CAP_SYS_NICE lets it be seen before");
            }
        }
        let Some(team) = &team else {
            std::thread::park_timeout(IDLE.min(Duration::from_secs(10)));
            continue;
        };
        let wait = poller.turn(team);
        std::thread::park_timeout(wait);
    }
    if let Some(team) = team {
        team.scene.unpark();
    }
}

/// The threads that do what polling leads to.
struct Team {
    desk: SyncSender<desk::Word>,
    scene: Thread,
}

impl Team {
    fn start(shared: &Arc<Shared>, alone: bool) -> Option<Self> {
        let start = || -> std::io::Result<Self> {
            let (desk, inbox) = sync_channel(INBOX);
            desk::start(shared, inbox)?;
            let work = Arc::clone(shared);
            let scene = Builder::new().name("scene".into()).spawn(move || super::scene::run(&work, alone))?;
            Ok(Self { desk, scene: scene.thread().clone() })
        };
        start()
            .inspect_err(|e| tracing::error!(error = %e, "cannot start the threads that act on pressure"))
            .ok()
    }

    /// The rules have gone: what they began is over.
    fn over<'a>(&self, seats: impl Iterator<Item = &'a Arc<Seat>>) {
        for seat in seats {
            self.tell(seat, News::Over, Instant::now());
        }
    }

    fn tell(&self, seat: &Arc<Seat>, news: News, onset: Instant) {
        let word = desk::Word { seat: Arc::clone(seat), news, onset, seen: Instant::now() };
        if let Err(TrySendError::Full(_)) = self.desk.try_send(word) {
            tracing::error!(rule = seat.rule.name, "the journal is so slow that a stall is not acted on");
        }
    }
}

impl Poller {
    fn new(shared: &Arc<Shared>) -> Self {
        let settings = shared.settings();
        let (options, host) = (&settings.options.pressure, &settings.host);
        let epoch = Instant::now().checked_sub(EPOCH).unwrap_or_else(Instant::now);
        let eyes: Vec<Eye> = options
            .rules
            .iter()
            .map(|rule| {
                let group = rule.cgroup.as_deref();
                let mut stalls = Stalls::new(host, group, rule.kind);
                if rule.stall.is_some() && stalls.read().is_none() {
                    let path = stalls.path().display();
                    tracing::warn!(rule = rule.name, %path, "no stall total can be read (yet); the kernel may want psi=1");
                }
                Eye {
                    seat: Arc::new(Seat::new(rule.clone(), epoch)),
                    stalls,
                    group: group.and_then(|g| Rooms::group(host, g)).map(|rooms| (rooms, Trend::default())),
                }
            })
            .collect();
        shared.pressure.replace(eyes.iter().map(|eye| Arc::clone(&eye.seat)).collect());
        let ratios = options.rules.iter().filter_map(|r| r.available_below_ratio);
        Self {
            shared: Arc::clone(shared),
            epoch,
            eyes,
            machine: Rooms::machine(host),
            trend: Trend::default(),
            free: Trend::default(),
            pace: Pace::new(options.slow, options.fast, options.exhaustion),
            share: ratios.fold(0.0, f64::max),
            settings,
        }
    }

    /// Whether with these settings there is nothing else to see. A stall that goes on is still the same one then.
    fn sees(&self, settings: &Arc<Settings>) -> bool {
        Arc::ptr_eq(settings, &self.settings)
            || settings.options.pressure == self.settings.options.pressure
                && settings.host == self.settings.host
    }

    /// One poll; when the next is due.
    fn turn(&mut self, team: &Team) -> Duration {
        let begun = Instant::now();
        let at = begun.saturating_duration_since(self.epoch);
        let room = self.machine.read();
        let share = room.map(|r| r.available_bytes as f64 / r.total_bytes.max(1) as f64);
        let mut signs = Signs {
            available: share.map(|share| (share, self.share)),
            left: room.and_then(|room| self.trend.see(at, room)),
            free_left: room.and_then(|room| self.free.see_free(at, room)),
            stalls: false,
        };
        let mut unreadable = 0;
        for eye in &mut self.eyes {
            let stalled = eye.stalls.read();
            unreadable += i64::from(stalled.is_none() && eye.seat.rule.stall.is_some());
            let (news, near) = eye.seat.see(Sample { at, stalled, available: share });
            signs.stalls |= near;
            if let Some((rooms, trend)) = &mut eye.group
                && let Some(left) = rooms.read().and_then(|room| trend.see(at, room))
            {
                signs.left = Some(signs.left.map_or(left, |l| l.min(left)));
            }
            if let Some(news) = news {
                let onset = if let News::Begun { onset } = news { onset } else { at };
                team.tell(&eye.seat, news, self.epoch + onset);
            }
        }
        let metrics = &self.shared.metrics.pressure;
        if self.pace.is_fast() {
            metrics.polls_fast.inc();
        } else {
            metrics.polls_slow.inc();
        }
        metrics.unreadable.set(unreadable);
        let wait = self.pace.next(at, &signs);
        metrics.fast.set(i64::from(self.pace.is_fast()));
        if self.shared.pressure.set_fast(self.pace.is_fast()) {
            team.scene.unpark();
        }
        wait.saturating_sub(begun.elapsed())
    }
}
