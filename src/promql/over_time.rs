//! Functions that make one number of the points of a range (`_over_time` and the like).

use super::value::Point;

/// A sum that keeps what rounding takes away (Kahan's, as Neumaier improved it).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kahan {
    sum: f64,
    lost: f64,
}

impl Kahan {
    pub(super) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    pub(super) fn sum(&self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// What a function makes of the points, of which there is at least one, and of the number before them.
type Reduce = fn(&[Point], f64) -> f64;

/// The function of a name.
pub(super) fn find(name: &str) -> Option<Reduce> {
    Some(match name {
        "avg_over_time" => |points, _| average(points),
        "min_over_time" => |points, _| pick(points, |a, b| a < b),
        "max_over_time" => |points, _| pick(points, |a, b| a > b),
        "sum_over_time" => |points, _| {
            let mut sum = Kahan::default();
            for point in points {
                sum.add(point.value);
            }
            sum.sum()
        },
        "count_over_time" => |points, _| points.len() as f64,
        "last_over_time" => |points, _| points.last().map_or(f64::NAN, |p| p.value),
        "present_over_time" => |_, _| 1.0,
        "stddev_over_time" => |points, _| variance(values(points)).sqrt(),
        "stdvar_over_time" => |points, _| variance(values(points)),
        "quantile_over_time" => |points, q| quantile(q, values(points).collect()),
        "changes" => |points, _| {
            #[expect(clippy::float_cmp, reason = "any other value is a change")]
            let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
            neighbours(points, changed)
        },
        "resets" => |points, _| neighbours(points, |a, b| b < a),
        _ => return None,
    })
}

/// Whether the series keeps its name.
pub(super) fn keeps_name(name: &str) -> bool {
    name == "last_over_time"
}

fn values(points: &[Point]) -> impl Iterator<Item = f64> {
    points.iter().map(|p| p.value)
}

fn neighbours(points: &[Point], is: impl Fn(f64, f64) -> bool) -> f64 {
    points.iter().zip(points.iter().skip(1)).filter(|(a, b)| is(a.value, b.value)).count() as f64
}

fn pick(points: &[Point], better: fn(f64, f64) -> bool) -> f64 {
    let mut all = values(points);
    let first = all.next().unwrap_or(f64::NAN);
    all.fold(first, |best, v| if better(v, best) || best.is_nan() { v } else { best })
}

fn average(points: &[Point]) -> f64 {
    let mut mean = Kahan::default();
    for (n, value) in values(points).enumerate() {
        let count = (n + 1) as f64;
        if mean.sum.is_infinite() {
            let same = value.is_infinite() && (mean.sum > 0.0) == (value > 0.0);
            // An infinite mean stays what it is, unless the other infinity or no number comes.
            if same || value.is_finite() {
                continue;
            }
        }
        mean.add(value / count - mean.sum / count);
    }
    mean.sum()
}

/// The variance of all values (not of a sample of them), by Welford's algorithm.
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Kahan::default(), Kahan::default());
    for value in values {
        count += 1.0;
        let from = value - (mean.sum + mean.lost);
        mean.add(from / count);
        squares.add(from * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// The value below which a share `q` of all lies, with a straight line between two; out of 0 to 1 an infinity.
pub(super) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // What is no number comes first, as in Prometheus.
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of values"
    )]
    let below = rank.floor() as usize;
    let at = |place: usize| values.get(place.min(values.len() - 1)).copied().unwrap_or(f64::NAN);
    let share = rank - rank.floor();
    at(below) * (1.0 - share) + at(below + 1) * share
}
