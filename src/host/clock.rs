//! The kernel's clock: how it is steered, and how far it may be wrong.
//!
//! Sources: adjtimex(2), `include/uapi/linux/timex.h`.

use crate::sys;
use std::io;

/// How the clock is steered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// Whether a reliable source of time keeps it right.
    pub synchronized: bool,
    /// The distance to the reference, in seconds.
    pub offset_seconds: f64,
    /// The local clock's frequency; 1 is what it should be.
    pub frequency_ratio: f64,
    /// The largest error, in seconds.
    pub error_seconds_max: f64,
    /// The estimated error, in seconds.
    pub error_seconds: f64,
    /// The kernel's bits of state.
    pub status: i64,
    /// The time constant of the phase-locked loop.
    pub constant: i64,
    /// Seconds between two ticks.
    pub tick_seconds: f64,
    /// What a signal once a second tells: frequency, jitter in seconds, length of the interval, stability.
    pub pulse: [f64; 4],
    /// Counts of such a signal: jitter too large, calibrations, errors of calibrations, stability too small.
    pub pulse_counts: [i64; 4],
    /// The distance to the International Atomic Time, in seconds.
    pub tai_seconds: i64,
}

/// The present state of the clock; `None` where the kernel does not allow to ask.
pub fn clock() -> io::Result<Option<Clock>> {
    super::counted::call();
    match sys::clock() {
        Ok((timex, synchronized)) => Ok(Some(from(&timex, synchronized))),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => Ok(None),
        Err(e) => Err(e),
    }
}

#[expect(clippy::useless_conversion, reason = "the fields are 32 bits wide on some machines")]
fn from(timex: &libc::timex, synchronized: bool) -> Clock {
    /// Parts of a million, with 16 bits behind the point.
    const FREQUENCY: f64 = 65_536.0 * 1e6;
    let real = |number: libc::c_long| i64::from(number) as f64;
    let whole = |number: libc::c_long| i64::from(number);
    let fine = timex.status & libc::STA_NANO != 0;
    let unit = if fine { 1e9 } else { 1e6 };
    Clock {
        synchronized,
        offset_seconds: real(timex.offset) / unit,
        frequency_ratio: 1.0 + real(timex.freq) / FREQUENCY,
        error_seconds_max: real(timex.maxerror) / 1e6,
        error_seconds: real(timex.esterror) / 1e6,
        status: timex.status.into(),
        constant: whole(timex.constant),
        tick_seconds: real(timex.tick) / 1e6,
        pulse: [
            real(timex.ppsfreq) / FREQUENCY,
            real(timex.jitter) / unit,
            timex.shift.into(),
            real(timex.stabil) / FREQUENCY,
        ],
        pulse_counts: [timex.jitcnt, timex.calcnt, timex.errcnt, timex.stbcnt].map(whole),
        tai_seconds: timex.tai.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_clock_has_a_plausible_frequency() {
        let Some(clock) = clock().unwrap() else { return };
        assert!((clock.frequency_ratio - 1.0).abs() < 0.001, "{clock:?}");
        assert!((0.009..0.0111).contains(&clock.tick_seconds), "{clock:?}");
    }

    #[test]
    fn the_unit_of_offsets_is_told_by_a_bit() {
        let mut timex = sys::clock().unwrap().0;
        timex.offset = 2_000;
        timex.freq = 65_536;
        for (bit, seconds) in [(0, 0.002), (libc::STA_NANO, 0.000_002)] {
            timex.status = bit;
            let clock = from(&timex, true);
            assert!((clock.offset_seconds - seconds).abs() < 1e-12);
            assert!((clock.frequency_ratio - 1.000_001).abs() < 1e-12);
        }
    }
}
