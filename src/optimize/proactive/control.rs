//! How much to take from a group next, and what it needs. Pure; time is an argument.

use std::time::Duration;

/// Steps smaller than this are not worth a call.
const STEP_MIN: u64 = 64 << 10;
/// So much of what was taken lately, read in again, is too much.
const REFAULT_SHARE: f64 = 0.1;
/// What was taken and came back counts half after each look.
const FADE: f64 = 0.5;
/// After the first back-off so many looks are let pass,
const LOOKS_MIN: u32 = 4;
/// and after each that follows twice as many, up to these.
const LOOKS_MAX: u32 = 32;
/// The first step after a back-off is so much of a whole one, and each after it twice as large as the one before: what is left by
/// then is mostly needed, and whatever of it is taken comes back.
const FIRST_AFTER: f64 = 1.0 / 16.0;
/// After so many good steps the next back-off is half as long.
const GOOD_STEPS: u32 = 16;
/// The fastest that a group may go to swap, in bytes a second.
const SWAP_OUT_MAX: f64 = (1 << 20) as f64;
/// Below this share of free swap nothing is moved there.
const SWAP_FREE_MIN: f64 = 0.2;

/// What may be done to a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// The share of time that its tasks may wait.
    pub(super) setpoint: f64,
    /// The part of it that one step takes.
    pub(super) step: f64,
    /// What it is left with.
    pub(super) floor_bytes: u64,
    /// Whether swap may be used.
    pub(super) swap: bool,
}

/// What was read of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// When, by a clock that only goes on.
    pub(super) at: Duration,
    /// What it holds.
    pub(super) current_bytes: u64,
    /// What it is promised.
    pub(super) protected_bytes: u64,
    /// The time that some of its tasks waited (a counter).
    pub(super) stalled: Option<Duration>,
    /// What was taken and read in again (a counter).
    pub(super) refaulted_bytes: Option<u64>,
    /// What of it lies in swap.
    pub(super) swap_bytes: u64,
    /// The free share of the machine's swap, if it has any.
    pub(super) swap_free: Option<f64>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Take so much, page cache alone or anonymous memory too.
    Take {
        /// Bytes.
        bytes: u64,
        /// Whether swap is left alone.
        file_only: bool,
    },
    /// The group misses what was taken, or something else says that it is enough; it is left alone for a while.
    BackOff(&'static str),
    /// Nothing, for this reason.
    Hold(&'static str),
}

/// What is remembered of a group.
#[derive(Clone, Debug)]
pub(super) struct Control {
    limits: Limits,
    last: Option<Reading>,
    taken: f64,
    refaulted: f64,
    looks_left: u32,
    looks: u32,
    good: u32,
    /// The part of a whole step that the next one is.
    part: f64,
    working_set: Option<u64>,
}

impl Control {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            last: None,
            taken: 0.0,
            refaulted: 0.0,
            looks_left: 0,
            looks: LOOKS_MIN,
            good: 0,
            part: 1.0,
            working_set: None,
        }
    }

    /// What the group needs, as far as it was found out: what it held when it began to miss what was taken.
    pub(super) fn working_set(&self) -> Option<u64> {
        self.working_set
    }

    /// So many bytes went in the step that was last asked for.
    pub(super) fn took(&mut self, bytes: u64) {
        self.taken += bytes as f64;
        if bytes == 0 {
            // There is nothing that could be taken: no sign that the rest is needed, and no use to go on asking.
            self.rest();
        }
    }

    /// Takes a reading; says what to do.
    pub(super) fn next(&mut self, now: Reading) -> Move {
        let Some(before) = self.last.replace(now) else { return Move::Hold("first look") };
        let (Some(stalled), Some(was)) = (now.stalled, before.stalled) else {
            return Move::Hold("its pressure is not known");
        };
        if now.at <= before.at || stalled < was || now.refaulted_bytes < before.refaulted_bytes {
            (self.taken, self.refaulted) = (0.0, 0.0);
            return Move::Hold("its counters began anew");
        }
        let seconds = now.at.saturating_sub(before.at).as_secs_f64();
        let pressure = stalled.saturating_sub(was).as_secs_f64() / seconds;
        let refaulted = now.refaulted_bytes.zip(before.refaulted_bytes).map_or(0, |(a, b)| a - b);
        self.refaulted += refaulted as f64;
        // Of what is less than the smallest step nothing can be told.
        let least = (now.current_bytes as f64 * self.limits.step * FIRST_AFTER).max(STEP_MIN as f64);
        let missed = self.refaulted > REFAULT_SHARE * self.taken.max(least);
        (self.taken, self.refaulted) = (self.taken * FADE, self.refaulted * FADE);
        let swapped_out = now.swap_bytes.saturating_sub(before.swap_bytes) as f64 / seconds;
        let why = if pressure >= self.limits.setpoint {
            Some("its tasks wait for memory")
        } else if missed {
            Some("it reads in again what was taken")
        } else {
            None
        };
        if let Some(why) = why {
            self.working_set = Some(now.current_bytes);
            // What was missed is answered; what is missed later is another matter.
            (self.taken, self.refaulted) = (0.0, 0.0);
            self.rest();
            return Move::BackOff(why);
        }
        if self.looks_left > 0 {
            self.looks_left -= 1;
            return Move::Hold("left alone for a while");
        }
        if swapped_out > SWAP_OUT_MAX {
            return Move::Hold("swap fills fast enough");
        }
        self.take(&now, 1.0 - pressure / self.limits.setpoint)
    }

    /// A step, the smaller the nearer the pressure is to its set point.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "parts of a u64, and not negative"
    )]
    fn take(&mut self, now: &Reading, gentle: f64) -> Move {
        // What it does without, it does not need.
        self.working_set = self.working_set.map(|known| known.min(now.current_bytes));
        let room = now.current_bytes.saturating_sub(self.limits.floor_bytes.max(now.protected_bytes));
        let step = now.current_bytes as f64 * self.limits.step * gentle;
        let bytes = (step.max(0.0) as u64).min(room);
        if bytes < STEP_MIN {
            return Move::Hold("nothing above its floor that is worth a step");
        }
        let bytes = ((bytes as f64 * self.part) as u64).max(STEP_MIN);
        self.part = (self.part * 2.0).min(1.0);
        self.good += 1;
        if self.good >= GOOD_STEPS {
            (self.good, self.looks) = (0, (self.looks / 2).max(LOOKS_MIN));
        }
        let file_only = !self.limits.swap || now.swap_free.is_none_or(|free| free < SWAP_FREE_MIN);
        Move::Take { bytes, file_only }
    }

    fn rest(&mut self) {
        self.looks_left = self.looks;
        self.looks = (self.looks * 2).min(LOOKS_MAX);
        self.good = 0;
        self.part = FIRST_AFTER;
    }
}

#[cfg(test)]
mod tests;
