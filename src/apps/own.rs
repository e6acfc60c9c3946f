//! What the store says of itself on the page.

use super::store::Store;
use crate::metric::{Desc, Sink, Value, single};

const APPLICATIONS: Desc<'static> =
    Desc::gauge("headroom_apps_applications", "Applications of which something is held.", &[]);
const SERIES: Desc<'static> =
    Desc::gauge("headroom_apps_series", "Series of applications that are held; each bucket is one.", &[]);
const BYTES: Desc<'static> = Desc::gauge(
    "headroom_apps_held_bytes",
    "What is held of applications, with what it takes to find it.",
    &[],
);
const HIDDEN: Desc<'static> = Desc::gauge(
    "headroom_apps_families_hidden",
    "Families of applications that are left out because another collector has the name.",
    &[],
);
const POINTS: Desc<'static> = Desc::counter(
    "headroom_apps_points_total",
    "Points of applications that were taken, by input.",
    &["input"],
);
const REFUSED: Desc<'static> = Desc::counter(
    "headroom_apps_points_refused_total",
    "Points of applications that were not taken, by input and reason.",
    &["input", "reason"],
);
const EXPIRED: Desc<'static> = Desc::counter(
    "headroom_apps_series_expired_total",
    "Series that disappeared because their application no longer sent them.",
    &[],
);

/// Writes what is held and what became of the rest.
pub(super) fn write(store: &Store, hidden: u64, out: &mut dyn Sink) {
    let totals = store.totals();
    single(out, &APPLICATIONS, totals.applications as u64);
    single(out, &SERIES, totals.series as u64);
    single(out, &BYTES, totals.bytes as u64);
    single(out, &HIDDEN, hidden);
    out.family(&POINTS);
    for (input, points) in &store.counts.points {
        out.sample(&[input.as_str()], Value::U64(*points));
    }
    out.family(&REFUSED);
    for ((input, refusal), points) in &store.counts.refused {
        out.sample(&[input.as_str(), refusal.as_str()], Value::U64(*points));
    }
    single(out, &EXPIRED, store.counts.expired);
}
