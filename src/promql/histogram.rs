//! Quantiles of classic histograms.

use super::value::{Labels, Sample};
use std::collections::HashMap;

/// The label of a bucket's upper bound.
const BOUND: &str = "le";

#[derive(Clone, Copy)]
struct Bucket {
    upto: f64,
    count: f64,
}

/// The quantile of each histogram among the samples, which are buckets; others are left out.
pub(super) fn quantiles(q: f64, samples: &[Sample]) -> Vec<Sample> {
    let mut order: Vec<Labels> = Vec::new();
    let mut histograms: HashMap<Labels, Vec<Bucket>> = HashMap::new();
    for sample in samples {
        let Some(upto) = bound(sample.labels.get(BOUND)) else { continue };
        let labels = sample.labels.keep(|name| name != BOUND && name != super::NAME);
        let buckets = histograms.entry(labels).or_insert_with_key(|labels| {
            order.push(labels.clone());
            Vec::new()
        });
        buckets.push(Bucket { upto, count: sample.value });
    }
    order
        .into_iter()
        .filter_map(|labels| {
            let value = quantile(q, histograms.remove(&labels)?);
            Some(Sample { labels, value })
        })
        .collect()
}

/// A bound as it stands in a label.
fn bound(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    buckets.sort_by(|a, b| a.upto.total_cmp(&b.upto));
    if buckets.last().is_none_or(|last| last.upto != f64::INFINITY) {
        return f64::NAN;
    }
    // The same bound twice, as of two instances whose labels were dropped, is one bucket.
    buckets.dedup_by(|later, kept| {
        let same = later.upto.total_cmp(&kept.upto).is_eq();
        if same {
            kept.count += later.count;
        }
        same
    });
    // Counts that were not read at the same moment may fall.
    let mut most = f64::NEG_INFINITY;
    for bucket in &mut buckets {
        most = most.max(bucket.count);
        bucket.count = most;
    }
    let [.., before_last, last] = buckets.as_slice() else { return f64::NAN };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let place = buckets
        .partition_point(|b| b.count < rank || b.count.is_nan() || rank.is_nan())
        .min(buckets.len() - 1);
    if place == buckets.len() - 1 {
        return before_last.upto;
    }
    let Some(&Bucket { upto: to, mut count }) = buckets.get(place) else { return f64::NAN };
    let Some(below) = place.checked_sub(1).and_then(|n| buckets.get(n)) else {
        return if to <= 0.0 { to } else { to * (rank / count) };
    };
    count -= below.count;
    rank -= below.count;
    below.upto + (to - below.upto) * (rank / count)
}
