//! The collector of the kernel's clock: how it is steered, and how far it may be wrong (`node_timex_*`).

use super::family::whole;
use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::host::clock::{Clock, clock};
use crate::metric::{Desc, Sink, Value, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "timex", on: true, make: |_, _| Ok(Box::new(Timex)) };

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &[])
}

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &[])
}

/// How a family's value is taken from the clock.
type Get = fn(&Clock) -> Value<'static>;

const FAMILIES: [(Desc<'static>, Get); 17] = [
    (
        gauge("node_timex_sync_status", "Is clock synchronized to a reliable server (1 = yes, 0 = no)."),
        |clock| Value::U64(clock.synchronized.into()),
    ),
    (
        gauge("node_timex_offset_seconds", "Time offset in between local system and reference clock."),
        |clock| Value::F64(clock.offset_seconds),
    ),
    (gauge("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment."), |clock| {
        Value::F64(clock.frequency_ratio)
    }),
    (gauge("node_timex_maxerror_seconds", "Maximum error in seconds."), |clock| {
        Value::F64(clock.error_seconds_max)
    }),
    (gauge("node_timex_estimated_error_seconds", "Estimated error in seconds."), |clock| {
        Value::F64(clock.error_seconds)
    }),
    (gauge("node_timex_status", "Value of the status array bits."), |clock| whole(clock.status.into())),
    (gauge("node_timex_loop_time_constant", "Phase-locked loop time constant."), |clock| {
        whole(clock.constant.into())
    }),
    (gauge("node_timex_tick_seconds", "Seconds between clock ticks."), |clock| {
        Value::F64(clock.tick_seconds)
    }),
    (gauge("node_timex_pps_frequency_hertz", "Pulse per second frequency."), |clock| {
        let [frequency, ..] = clock.pulse;
        Value::F64(frequency)
    }),
    (gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter."), |clock| {
        let [_, jitter, ..] = clock.pulse;
        Value::F64(jitter)
    }),
    (gauge("node_timex_pps_shift_seconds", "Pulse per second interval duration."), |clock| {
        let [_, _, shift, _] = clock.pulse;
        Value::F64(shift)
    }),
    (
        gauge(
            "node_timex_pps_stability_hertz",
            "Pulse per second stability, average of recent frequency changes.",
        ),
        |clock| {
            let [.., stability] = clock.pulse;
            Value::F64(stability)
        },
    ),
    (
        counter("node_timex_pps_jitter_total", "Pulse per second count of jitter limit exceeded events."),
        |clock| {
            let [jitter, ..] = clock.pulse_counts;
            whole(jitter.into())
        },
    ),
    (
        counter("node_timex_pps_calibration_total", "Pulse per second count of calibration intervals."),
        |clock| {
            let [_, calibrations, ..] = clock.pulse_counts;
            whole(calibrations.into())
        },
    ),
    (counter("node_timex_pps_error_total", "Pulse per second count of calibration errors."), |clock| {
        let [_, _, errors, _] = clock.pulse_counts;
        whole(errors.into())
    }),
    (
        counter(
            "node_timex_pps_stability_exceeded_total",
            "Pulse per second count of stability limit exceeded events.",
        ),
        |clock| {
            let [.., exceeded] = clock.pulse_counts;
            whole(exceeded.into())
        },
    ),
    (gauge("node_timex_tai_offset_seconds", "International Atomic Time (TAI) offset."), |clock| {
        whole(clock.tai_seconds.into())
    }),
];

struct Timex;

impl Collector for Timex {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let clock =
            clock().map_err(|e| CollectError::Failed(format!("cannot ask for the clock's state: {e}")))?;
        let clock = clock
            .ok_or_else(|| CollectError::Absent("the permission to ask for the clock's state".into()))?;
        for (desc, get) in &FAMILIES {
            single(out, desc, get(&clock));
        }
        Ok(())
    }
}
