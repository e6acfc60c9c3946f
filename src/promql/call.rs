//! Calls of functions.

use super::error::Error;
use super::eval::{Evaluation, clock, unique};
use super::histogram;
use super::value::{Labels, NAME, Sample, Value};
use super::{labels, over_time, rate};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use promql_parser::label::MatchOp;
use promql_parser::parser::{Call, Expr, VectorSelector};
use std::cmp::Ordering;
use std::f64::consts::PI;

/// Functions that are called here, besides those over a range.
pub(super) const NAMES: [&str; 47] = [
    "abs",
    "absent",
    "absent_over_time",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "exp",
    "floor",
    "histogram_quantile",
    "hour",
    "label_join",
    "label_replace",
    "ln",
    "log10",
    "log2",
    "minute",
    "month",
    "pi",
    "rad",
    "round",
    "scalar",
    "sgn",
    "sin",
    "sinh",
    "sort",
    "sort_desc",
    "sqrt",
    "tan",
    "tanh",
    "time",
    "timestamp",
    "vector",
    "year",
];

/// What a call says at a time.
pub(super) fn evaluate(evaluation: &Evaluation<'_>, call: &Call, at: i64) -> Result<Value, Error> {
    let (name, arguments) = (call.func.name, Arguments { evaluation, all: &call.args.args, at });
    if let Some(slope) = rate::find(name) {
        let numbers = rate::numbers(evaluation, &call.args.args, at)?;
        let bounded = evaluation.range(arguments.get(0)?, at)?;
        let mut out = Vec::new();
        for ranged in bounded.range.iter() {
            if let Some(value) = slope(ranged.points, bounded.window, at, &numbers) {
                out.push(Sample { labels: ranged.labels.without_name(), value });
            }
        }
        return unique(out);
    }
    if let Some(reduce) = over_time::find(name) {
        let (q, range) = if name == "quantile_over_time" { (arguments.scalar(0)?, 1) } else { (f64::NAN, 0) };
        let bounded = evaluation.range(arguments.get(range)?, at)?;
        let keep = over_time::keeps_name(name);
        let label = |labels: &Labels| if keep { labels.clone() } else { labels.without_name() };
        let some = bounded.range.iter().filter(|r| !r.points.is_empty());
        return unique(some.map(|r| Sample { labels: label(r.labels), value: reduce(r.points, q) }));
    }
    if let Some(of) = of_number(name) {
        return unique(arguments.vector(0)?.into_iter().map(|s| unnamed(&s.labels, of(s.value))));
    }
    if let Some(of) = of_date(name) {
        let now = || Ok(vec![Sample { labels: Labels::default(), value: clock(at) }]);
        let samples = if arguments.all.is_empty() { now() } else { arguments.vector(0) }?;
        return unique(samples.into_iter().map(|s| unnamed(&s.labels, date(s.value).map_or(f64::NAN, of))));
    }
    arguments.other(name)
}

struct Arguments<'a> {
    evaluation: &'a Evaluation<'a>,
    all: &'a [Box<Expr>],
    at: i64,
}

impl Arguments<'_> {
    fn get(&self, place: usize) -> Result<&Expr, Error> {
        let argument = self.all.get(place).map(Box::as_ref);
        argument.ok_or_else(|| Error::Evaluation(format!("argument {} is missing", place + 1)))
    }

    fn vector(&self, place: usize) -> Result<Vec<Sample>, Error> {
        self.evaluation.vector(self.get(place)?, self.at)
    }

    fn scalar(&self, place: usize) -> Result<f64, Error> {
        self.evaluation.scalar(self.get(place)?, self.at)
    }

    fn text(&self, place: usize) -> Result<String, Error> {
        match self.evaluation.value(self.get(place)?, self.at)? {
            Value::Text(text) => Ok(text),
            _ => Err(Error::Evaluation(format!("argument {} is no text", place + 1))),
        }
    }

    fn other(&self, name: &str) -> Result<Value, Error> {
        match name {
            "time" => Ok(Value::Scalar(clock(self.at))),
            "pi" => Ok(Value::Scalar(PI)),
            "vector" => Ok(Value::Vector(vec![Sample { labels: Labels::default(), value: self.scalar(0)? }])),
            "scalar" => Ok(Value::Scalar(match self.vector(0)?.as_slice() {
                [one] => one.value,
                _ => f64::NAN,
            })),
            "timestamp" => self.timestamp(),
            "absent" => Ok(absent(self.vector(0)?.is_empty(), selector(self.get(0)?))),
            "absent_over_time" => {
                let range = self.evaluation.range(self.get(0)?, self.at)?.range;
                let none = range.iter().all(|r| r.points.is_empty());
                Ok(absent(none, selector(self.get(0)?)))
            }
            "sort" | "sort_desc" => self.sorted(name == "sort_desc"),
            "round" => {
                let to = if self.all.len() > 1 { self.scalar(1)? } else { 1.0 };
                // Divided by the inverse: a step of 0.1 is no exact number.
                let inverse = 1.0 / to;
                self.each(|v| (v * inverse + 0.5).floor() / inverse)
            }
            "clamp" => {
                let (least, most) = (self.scalar(1)?, self.scalar(2)?);
                let within = self.each(|v| larger(least, smaller(most, v)))?;
                Ok(if most < least { Value::Vector(Vec::new()) } else { within })
            }
            "clamp_min" => {
                let least = self.scalar(1)?;
                self.each(|v| larger(least, v))
            }
            "clamp_max" => {
                let most = self.scalar(1)?;
                self.each(|v| smaller(most, v))
            }
            "histogram_quantile" => unique(histogram::quantiles(self.scalar(0)?, &self.vector(1)?)),
            "label_replace" => {
                let (to, with, source) = (self.text(1)?, self.text(2)?, self.text(3)?);
                labels::replace(self.vector(0)?, &to, &with, &source, &self.text(4)?)
            }
            "label_join" => {
                let sources: Result<Vec<_>, _> = (3..self.all.len()).map(|n| self.text(n)).collect();
                labels::join(self.vector(0)?, &self.text(1)?, &self.text(2)?, &sources?)
            }
            _ => Err(Error::Unsupported(format!("the function {name}()"))),
        }
    }

    fn each(&self, of: impl Fn(f64) -> f64) -> Result<Value, Error> {
        unique(self.vector(0)?.into_iter().map(|s| unnamed(&s.labels, of(s.value))))
    }

    fn sorted(&self, largest_first: bool) -> Result<Value, Error> {
        let mut samples = self.vector(0)?;
        samples.sort_by(|a, b| {
            let order = a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
            a.value.is_nan().cmp(&b.value.is_nan()).then(if largest_first { order.reverse() } else { order })
        });
        Ok(Value::Vector(samples))
    }

    /// When the samples were taken; of what was computed, now.
    fn timestamp(&self) -> Result<Value, Error> {
        let mut expr = self.get(0)?;
        while let Expr::Paren(inner) = expr {
            expr = &inner.expr;
        }
        if let Expr::VectorSelector(selector) = expr {
            let newest = self.evaluation.newest(selector, self.at);
            return unique(newest.map(|(labels, point)| unnamed(labels, clock(point.at))));
        }
        self.each(|_| clock(self.at))
    }
}

fn unnamed(labels: &Labels, value: f64) -> Sample {
    Sample { labels: labels.without_name(), value }
}

/// As Go's `math.Max`: what is no number stays none.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The selector that an argument of `absent` is, if it is one.
fn selector(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) => Some(selector),
        Expr::MatrixSelector(selector) => Some(&selector.vs),
        Expr::Paren(inner) => selector(&inner.expr),
        _ => None,
    }
}

/// A one with the labels that the selector asked for, each by one `=` alone; or nothing.
fn absent(is: bool, selector: Option<&VectorSelector>) -> Value {
    if !is {
        return Value::Vector(Vec::new());
    }
    let matchers = selector.map_or(&[][..], |s| &s.matchers.matchers);
    let alone = |name: &str| matchers.iter().filter(|m| m.name == name).count() == 1;
    let equal =
        matchers.iter().filter(|m| matches!(m.op, MatchOp::Equal) && m.name != NAME && alone(&m.name));
    let labels = Labels::new(equal.map(|m| (&m.name, &m.value)));
    Value::Vector(vec![Sample { labels, value: 1.0 }])
}

fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => f64::acosh,
        "asin" => f64::asin,
        "asinh" => f64::asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => f64::to_degrees,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => f64::to_radians,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

fn of_date(name: &str) -> Option<fn(DateTime) -> f64> {
    Some(match name {
        "minute" => |d| f64::from(d.minute()),
        "hour" => |d| f64::from(d.hour()),
        "day_of_month" => |d| f64::from(d.day()),
        "day_of_week" => |d| f64::from(d.weekday().to_sunday_zero_offset()),
        "day_of_year" => |d| f64::from(d.day_of_year()),
        "days_in_month" => |d| f64::from(d.days_in_month()),
        "month" => |d| f64::from(d.month()),
        "year" => |d| f64::from(d.year()),
        _ => return None,
    })
}

/// The date and time, in UTC, of a number of seconds; nothing beyond what a calendar has.
fn date(seconds: f64) -> Option<DateTime> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast keeps to the bounds, and no calendar goes so far"
    )]
    let whole = seconds as i64;
    Some(Timestamp::from_second(whole).ok()?.to_zoned(TimeZone::UTC).datetime())
}
