//! The machine, looked at each 20 ms: when trouble begins, and what a tool's act gives it.

use super::kernel::{available_mib, now_millis, stalls};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);
/// Trouble, the same for every tool: so much stall within so many samples, or so little of the machine's memory available.
const STALL_MILLIS: f64 = 10.0;
const WINDOW: usize = 5;
const SHORT_SHARE: f64 = 0.1;
/// What an act gives shows within this time.
const GAIN_MILLIS: u64 = 1000;

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: u64,
    pub available: f64,
    pub some: f64,
    pub full: f64,
}

/// A thread that looks until it is asked what it saw.
pub struct Sampler {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Stalls are those of this file.
    pub fn start(pressure: PathBuf) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::with_capacity(1 << 14);
            let [pressure, meminfo] =
                [pressure, "/proc/meminfo".into()].map(|path| File::open(path).unwrap());
            while !over.load(Ordering::Relaxed) {
                let (some, full) = stalls(&text(&pressure));
                seen.push(Sample { at: now_millis(), available: available_mib(&text(&meminfo)), some, full });
                sleep(STEP);
            }
            seen
        });
        Self { end, thread }
    }

    pub fn seen(self) -> Vec<Sample> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The beginning of a file that stays open: to open one each time costs more than to read it.
fn text(file: &File) -> String {
    let mut buffer = [0; 512];
    let read = file.read_at(&mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// When trouble begins: the last sample before the stall, or the first with too little available.
pub fn onset(seen: &[Sample], total_mib: f64) -> Option<u64> {
    seen.iter().enumerate().find_map(|(n, sample)| {
        let window = &seen[n.saturating_sub(WINDOW)..=n];
        let stalled = sample.some - window[0].some >= STALL_MILLIS;
        if stalled {
            let before = window.iter().rev().find(|s| s.some <= window[0].some);
            return Some(before.unwrap_or(sample).at);
        }
        (sample.available < total_mib * SHORT_SHARE).then_some(sample.at)
    })
}

/// What the machine had more within a second after each of these moments, against just before it. Moments that come within
/// that time of another are one act.
pub fn gained(seen: &[Sample], acts: &[u64]) -> f64 {
    let (mut sum, mut until) = (0.0, 0);
    for &act in acts {
        if act < until {
            continue;
        }
        until = act + GAIN_MILLIS;
        let before = seen.iter().rev().find(|s| s.at <= act).or(seen.first());
        let after = seen.iter().filter(|s| s.at > act && s.at <= until).map(|s| s.available);
        sum += before.map_or(0.0, |b| (after.fold(b.available, f64::max) - b.available).max(0.0));
    }
    sum
}
