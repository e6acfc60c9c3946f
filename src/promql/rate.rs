//! Functions that want at least two points of a range: rates, differences, lines through points.

use super::error::Error;
use super::eval::Evaluation;
use super::over_time::Kahan;
use super::value::{Point, seconds};
use super::window::Window;
use promql_parser::parser::Expr;

/// What a function makes of a range: the points, where the range begins and ends, when it is asked, the numbers that
/// were given besides. Nothing if there are too few points.
type Slope = fn(&[Point], Window, i64, &[f64]) -> Option<f64>;

/// The function of a name.
pub(super) fn find(name: &str) -> Option<Slope> {
    Some(match name {
        "rate" => |points, window, _, _| extrapolated(points, window, true, true),
        "increase" => |points, window, _, _| extrapolated(points, window, true, false),
        "delta" => |points, window, _, _| extrapolated(points, window, false, false),
        "irate" => |points, _, _, _| last_two(points, true),
        "idelta" => |points, _, _, _| last_two(points, false),
        "deriv" => |points, _, _, _| Some(line(points, points.first()?.at)?.0),
        "predict_linear" => |points, _, at, ahead| {
            let (slope, now) = line(points, at)?;
            Some(slope * ahead.first()? + now)
        },
        _ => return None,
    })
}

/// The numbers that stand beside the range.
pub(super) fn numbers(
    evaluation: &Evaluation<'_>,
    arguments: &[Box<Expr>],
    at: i64,
) -> Result<Vec<f64>, Error> {
    arguments.iter().skip(1).map(|e| evaluation.scalar(e, at)).collect()
}

/// How far a counter went (or a gauge moved) within the range, as if its points reached to both ends: but not by more than
/// about half the usual distance of two points, and not to where a counter would have been below zero.
fn extrapolated(points: &[Point], window: Window, counter: bool, per_second: bool) -> Option<f64> {
    let [first, .., last] = points else { return None };
    let mut result = last.value - first.value;
    if counter {
        for (before, after) in points.iter().zip(points.iter().skip(1)) {
            if after.value < before.value {
                result += before.value;
            }
        }
    }
    let mut to_start = seconds(first.at - window.from);
    let to_end = seconds(window.to - last.at);
    let sampled = seconds(last.at - first.at);
    let average = sampled / (points.len() - 1) as f64;
    if counter && result > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / result));
    }
    let near = |gap: f64| if gap < average * 1.1 { gap } else { average / 2.0 };
    let mut factor = (sampled + near(to_start) + near(to_end)) / sampled;
    if per_second {
        factor /= seconds(window.to - window.from);
    }
    Some(result * factor)
}

/// By the last two points alone: of a counter its rate, of a gauge its difference.
fn last_two(points: &[Point], rate: bool) -> Option<f64> {
    let [.., before, last] = points else { return None };
    let fell = rate && last.value < before.value;
    let difference = if fell { last.value } else { last.value - before.value };
    if !rate {
        return Some(difference);
    }
    let span = last.at - before.at;
    (span != 0).then(|| difference / seconds(span))
}

/// The slope per second of the straight line through the points, by least squares, and its value at `origin`.
fn line(points: &[Point], origin: i64) -> Option<(f64, f64)> {
    let [first, _, ..] = points else { return None };
    #[expect(clippy::float_cmp, reason = "only of equal ones the slope is exactly none")]
    if points.iter().all(|p| p.value == first.value) {
        return Some(if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) });
    }
    let (mut x, mut y, mut xy, mut xx) = <(Kahan, Kahan, Kahan, Kahan)>::default();
    let n = points.len() as f64;
    for point in points {
        let t = seconds(point.at - origin);
        x.add(t);
        y.add(point.value);
        xy.add(t * point.value);
        xx.add(t * t);
    }
    let (x, y, xy, xx) = (x.sum(), y.sum(), xy.sum(), xx.sum());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}
