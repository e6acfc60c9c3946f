//! Rates between pictures.

use super::super::picture::tests::batch;
use super::*;

const DISK: [&str; 3] =
    ["node_disk_read_bytes_total", "node_disk_written_bytes_total", "node_disk_io_time_seconds_total"];

fn at(seconds: f64, busy: f64, read: f64) -> Picture {
    let cpu: &[(&[&str], f64)] = &[
        (&["0", "idle"], seconds),
        (&["1", "idle"], seconds - busy),
        (&["1", "user"], busy * 0.75),
        (&["1", "softirq"], busy * 0.25),
    ];
    let batch = batch(&[
        ("node_cpu_seconds_total", &["cpu", "mode"], cpu),
        (DISK[0], &["device"], &[(&["sda"], read), (&["dm-0"], read)]),
        (DISK[2], &["device"], &[(&["sda"], seconds * 2.0)]),
        ("node_network_receive_bytes_total", &["device"], &[(&["lo"], read * 9.0), (&["eth0"], read)]),
        ("node_pressure_memory_waiting_seconds_total", &[], &[(&[], busy)]),
    ]);
    // The time of day has been set back since the last one.
    Picture::of(&batch, 9e9 - seconds, seconds)
}

#[test]
fn rates_are_those_since_the_picture_before() {
    let (before, now) = (at(100.0, 10.0, 1000.0), at(110.0, 14.0, 3000.0));
    let pair = Pair { before: Some(&before), now: &now };
    let cpu = pair.cpu();
    let close = |value: Maybe, wanted: f64| (value.unwrap() - wanted).abs() < 1e-9;
    assert!(cpu.count == Some(2) && close(cpu.busy, 0.2) && close(cpu.user, 0.15), "{cpu:?}");
    assert!(close(cpu.system, 0.05) && cpu.steal.is_none(), "{cpu:?}");
    assert!(close(pair.pressure().memory_some, 0.4) && pair.pressure().memory_full.is_none());
    assert_eq!(pair.totals(), [Some(200.0), None, Some(200.0), None], "neither mappings nor loopback count");
    let disks = pair.disks();
    let wanted = Disk { name: "sda", read: Some(200.0), written: None, busy: Some(1.0) };
    assert_eq!(disks[1], wanted, "a share is at most all of the time");
}

#[test]
fn without_a_picture_before_and_where_counts_went_back_there_is_no_rate() {
    let (first, later) = (at(100.0, 10.0, 1000.0), at(110.0, 14.0, 3000.0));
    for (before, now) in [(None, &first), (Some(&later), &first)] {
        let pair = Pair { before, now };
        assert_eq!(pair.totals(), [None; 4]);
        assert!(pair.cpu().busy.is_none() && pair.pressure().memory_some.is_none());
    }
}

#[test]
fn the_event_is_json_with_null_for_what_is_not_known() {
    let now = at(100.0, 10.0, 1000.0);
    let told = Told { alerts: None, error: Some("nobody".into()) };
    let event = Pair { before: None, now: &now }.event(&told, None);
    let json = serde_json::to_value(event).unwrap();
    for (key, value) in
        [("/at", (9e9 - 100.0).into()), ("/alerts_error", "nobody".into()), ("/cpu/count", 2.into())]
    {
        assert_eq!(json.pointer(key), Some(&value), "{key}");
    }
    for key in ["/alerts", "/optimizer", "/memory/total", "/cpu/busy", "/pressure/io_full"] {
        assert_eq!(json.pointer(key), Some(&serde_json::Value::Null), "{key}");
    }
}
