//! Whether one rule's trouble begins, goes on or is over: samples in, decisions out. Pure; time is an argument.

use std::time::Duration;

/// Samples that are remembered: two windows.
const SLOTS: usize = 64;
/// A window holds so many of them.
const SLOTS_A_WINDOW: u32 = 32;
/// A total that did not move for so long: what moves next is a new stall.
const STILL: Duration = Duration::from_millis(100);
/// Samples further apart than two windows, and than this, say nothing about one window.
const GAP: Duration = Duration::from_secs(2);
/// Trouble goes on while the stall is above this part of what began it, and ends below.
const LEAVE_STALL: f64 = 0.5;
/// Trouble goes on until so much more is available than the share that began it.
const LEAVE_AVAILABLE: f64 = 1.1;
/// Trouble that was seen within this time is evidence for a run's first action: on a machine that stalls, the run's turn may come
/// later than the next pause of a stall that comes and goes.
const RECENT: Duration = Duration::from_secs(1);
/// From this part of the stall on, trouble is near.
const NEAR_STALL: f64 = 0.1;

/// What is trouble.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// So much stall in a window, if stalls count.
    pub stall: Option<Duration>,
    /// The window.
    pub window: Duration,
    /// Less than this share of the machine's memory available, if that counts.
    pub available_below: Option<f64>,
    /// Whether all of these must be so, and not any.
    pub all: bool,
    /// How long trouble must be away to be over.
    pub calm: Duration,
}

/// What was read at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, by a clock that only goes on.
    pub at: Duration,
    /// The stall total; `None` where it cannot be read.
    pub stalled: Option<Duration>,
    /// The share of the machine's memory that is available.
    pub available: Option<f64>,
}

/// What a sample changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Trouble begins: one run. The stall began at `onset`, as far as the totals tell.
    Begun {
        /// By the clock of the samples.
        onset: Duration,
    },
    /// Trouble is over.
    Over,
}

/// A rule's memory of its samples.
#[derive(Clone, Debug)]
pub struct Watch {
    limits: Limits,
    ring: [(Duration, Duration); SLOTS],
    /// Slots in use, and the next to write.
    used: usize,
    next: usize,
    last: Option<Sample>,
    /// Since when, and when last, the total moved.
    moving: Option<(Duration, Duration)>,
    /// The last trouble of the episode, while there is one.
    episode: Option<Duration>,
    /// Since when what stalls is evidence; none while nothing was done in this episode.
    fresh_from: Option<Duration>,
    /// How many episodes there were, this one included.
    episodes: u64,
    /// The episode's run found nothing to do: what comes next is another episode.
    given_up: bool,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ring: [(Duration::ZERO, Duration::ZERO); SLOTS],
            used: 0,
            next: 0,
            last: None,
            moving: None,
            episode: None,
            fresh_from: None,
            episodes: 0,
            given_up: false,
        }
    }

    /// Takes a sample; says what it changed.
    pub fn see(&mut self, sample: Sample) -> Option<News> {
        self.remember(sample);
        let at = sample.at;
        let Some(last_trouble) = self.episode else {
            if !self.troubled(1.0, 1.0) {
                return None;
            }
            // What an earlier run did is no matter of this one's.
            (self.episode, self.given_up, self.fresh_from) = (Some(at), false, None);
            self.episodes = self.episodes.saturating_add(1);
            return Some(News::Begun { onset: self.moving.map_or(at, |(since, _)| since) });
        };
        if std::mem::take(&mut self.given_up) {
            self.episode = None;
            return Some(News::Over);
        }
        // A clock that was set back begins to count anew.
        if self.troubled(LEAVE_STALL, LEAVE_AVAILABLE) || at < last_trouble {
            self.episode = Some(at);
        } else if at.saturating_sub(last_trouble) >= self.limits.calm {
            self.episode = None;
            return Some(News::Over);
        }
        None
    }

    /// What was done is done: from now on only what stalls later is evidence.
    pub fn mark(&mut self) {
        if let Some(Sample { at, stalled, .. }) = self.last {
            self.fresh_from = Some(at);
            if let Some(stalled) = stalled {
                self.push(at, stalled);
            }
        }
    }

    /// The run of the episode with this number ended without any action, because it found no trouble. An episode has one run,
    /// so trouble that comes back is another episode, and not one that nobody sees to. An episode that began meanwhile has a
    /// run of its own.
    pub fn give_up(&mut self, episode: u64) {
        self.given_up |= self.episode.is_some() && self.episodes == episode;
    }

    /// The number of the episode that goes on, or was the last.
    pub fn episode(&self) -> u64 {
        self.episodes
    }

    /// Whether trouble goes on, by what was seen since the last mark; `None` while that is too little to tell. Before the first
    /// action, trouble that paused a moment ago goes on.
    pub fn goes_on(&self) -> Option<bool> {
        if self.episode.is_none() {
            return Some(false);
        }
        let Some(fresh) = self.fresh_from else {
            let recent = self.limits.window.max(RECENT).min(self.limits.calm);
            let now = self.last.map_or(Duration::ZERO, |s| s.at);
            return Some(self.episode.is_some_and(|last| now.saturating_sub(last) <= recent));
        };
        let span = match self.last {
            // Where the kernel counts no stalls, what is available is the evidence.
            Some(Sample { at, stalled: None, .. }) => at.saturating_sub(fresh),
            _ => self.stalled().1,
        };
        let enough = self.limits.stall.unwrap_or_default().max(STILL).min(self.limits.window);
        (span >= enough).then(|| {
            let part = if self.limits.window.is_zero() {
                1.0
            } else {
                (span.as_secs_f64() / self.limits.window.as_secs_f64()).min(1.0)
            };
            self.troubled(part, 1.0)
        })
    }

    /// Whether trouble is near, or there.
    pub fn is_near(&self) -> bool {
        self.episode.is_some()
            || self.limits.stall.is_some_and(|stall| self.in_window() > stall.mul_f64(NEAR_STALL))
    }

    /// The stall of the last window, or of what is fresh of it, and over which time.
    pub fn stalled(&self) -> (Duration, Duration) {
        let Some(Sample { at, stalled: Some(now), .. }) = self.last else { return Default::default() };
        let Some((then, was)) = self.baseline(at) else { return Default::default() };
        (now.saturating_sub(was), at.saturating_sub(then))
    }

    /// When the last sample was taken.
    pub fn last_at(&self) -> Option<Duration> {
        self.last.map(|s| s.at)
    }

    /// The stall of one window: where the samples are further apart, in proportion.
    fn in_window(&self) -> Duration {
        let (stalled, span) = self.stalled();
        if span <= self.limits.window {
            return stalled;
        }
        stalled.mul_f64(self.limits.window.as_secs_f64() / span.as_secs_f64())
    }

    fn troubled(&self, stall_part: f64, available_part: f64) -> bool {
        let stalls = self.limits.stall.map(|limit| {
            let known = self.last.is_some_and(|s| s.stalled.is_some());
            known && self.in_window() >= limit.mul_f64(stall_part).max(Duration::from_micros(1))
        });
        let short = self.limits.available_below.map(|share| {
            self.last.and_then(|s| s.available).is_some_and(|available| available < share * available_part)
        });
        let parts = [stalls, short];
        let mut known = parts.iter().flatten();
        if self.limits.all {
            parts.iter().any(Option::is_some) && known.all(|&x| x)
        } else {
            known.any(|&x| x)
        }
    }

    /// The newest sample that is a window old; else the oldest that is still evidence.
    fn baseline(&self, now: Duration) -> Option<(Duration, Duration)> {
        let begin = now.saturating_sub(self.limits.window);
        let (used, fresh) = (self.ring.get(..self.used)?, self.fresh_from.unwrap_or_default());
        let evidence = || used.iter().copied().filter(move |(at, _)| *at >= fresh && *at <= now);
        let old = evidence().filter(|(at, _)| *at <= begin).max_by_key(|(at, _)| *at);
        old.or_else(|| evidence().min_by_key(|(at, _)| *at))
    }

    fn remember(&mut self, sample: Sample) {
        let Sample { at, stalled, .. } = sample;
        let before = self.last.replace(sample);
        // A clock that was set back begins to count anew; what was done stays done.
        self.fresh_from = self.fresh_from.map(|fresh| fresh.min(at));
        let Some(total) = stalled else { return self.forget() };
        let Some(Sample { at: then, stalled: Some(was), .. }) = before else {
            self.forget();
            return self.push(at, total);
        };
        // The clock or the total went back, or nobody looked for long: what was is no measure of what is.
        if at < then || total < was || at.saturating_sub(then) > GAP.max(self.limits.window * 2) {
            self.forget();
            return self.push(at, total);
        }
        let (grown, passed) = (total.saturating_sub(was), at.saturating_sub(then));
        if grown > Duration::ZERO {
            let since = self.moving.map_or(at.saturating_sub(grown.min(passed)), |(since, _)| since);
            self.moving = Some((since, at));
        } else if self.moving.is_some_and(|(_, last)| at.saturating_sub(last) >= STILL) {
            self.moving = None;
        }
        let newest = self.ring.get((self.next + SLOTS - 1) % SLOTS).map_or(Duration::ZERO, |(at, _)| *at);
        if at.saturating_sub(newest) >= self.limits.window / SLOTS_A_WINDOW || newest > at {
            self.push(at, total);
        }
    }

    fn push(&mut self, at: Duration, total: Duration) {
        if let Some(slot) = self.ring.get_mut(self.next) {
            *slot = (at, total);
        }
        self.next = (self.next + 1) % SLOTS;
        self.used = (self.used + 1).min(SLOTS);
    }

    fn forget(&mut self) {
        (self.used, self.next, self.moving) = (0, 0, None);
        self.ring = [(Duration::ZERO, Duration::ZERO); SLOTS];
    }
}

#[cfg(test)]
mod tests;
