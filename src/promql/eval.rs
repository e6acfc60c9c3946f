//! The evaluation of an expression at one time after the other.

use super::error::Error;
use super::value::{Labels, Point, Sample, Series, Value, is_stale, seconds};
use super::window::{self, Window, millis};
use super::{Gathered, Source, aggregate, all_matchers, binary, call};
use promql_parser::parser::{Expr, MatrixSelector, SubqueryExpr, VectorSelector};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// What an evaluation may take, and how it looks at time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For how long a sample stands for its series, in milliseconds.
    pub lookback: i64,
    /// The step of a subquery that names none, in milliseconds.
    pub interval: i64,
    /// Points that one evaluation may fetch.
    pub points_max: usize,
    /// Points of an answer, and of a subquery's.
    pub answer_max: usize,
    /// Steps of a query over a time, or of a subquery.
    pub steps_max: i64,
    /// When it is given up.
    pub until: Option<Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookback: 300_000,
            interval: 60_000,
            points_max: 20_000_000,
            answer_max: 5_000_000,
            steps_max: 11_000,
            until: None,
        }
    }
}

/// A query that is being answered: what it needs was fetched.
pub(super) struct Evaluation<'a> {
    /// The whole expression, which stays where it is.
    expr: &'a Expr,
    whole: Window,
    limits: Limits,
    /// By the selector's place in memory: an expression does not move while it is evaluated.
    fetched: HashMap<*const VectorSelector, Vec<Series>>,
}

/// Points of one series within a range, and where the range ends.
pub(super) struct Ranged<'a> {
    pub(super) labels: &'a Labels,
    pub(super) points: &'a [Point],
}

/// The points that functions over a range get.
pub(super) enum Range<'a> {
    Borrowed(Vec<Ranged<'a>>),
    Owned(Vec<Series>),
}

impl Range<'_> {
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Ranged<'_>> + '_> {
        match self {
            Self::Borrowed(all) => {
                Box::new(all.iter().map(|r| Ranged { labels: r.labels, points: r.points }))
            }
            Self::Owned(all) => Box::new(all.iter().map(|s| Ranged { labels: &s.labels, points: &s.points })),
        }
    }
}

/// A range with its bounds, which rates are extrapolated to.
pub(super) struct Bounded<'a> {
    pub(super) range: Range<'a>,
    pub(super) window: Window,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        source: &dyn Source,
        expr: &'a Expr,
        whole: Window,
        limits: Limits,
    ) -> Result<Self, Error> {
        let mut wanted: Vec<(&VectorSelector, Window)> = Vec::new();
        window::walk(expr, whole, whole, limits.lookback, &mut |selector, window| {
            wanted.push((selector, window));
        })?;
        let mut fetched = HashMap::new();
        let mut points = 0;
        for (selector, window) in wanted {
            let left = limits.points_max.saturating_sub(points);
            let Some(mut series) = source.select(&all_matchers(selector), window, left) else {
                return Err(Error::TooMuch(format!("{} points", limits.points_max)));
            };
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            points += series.iter().map(|s| s.points.len()).sum::<usize>();
            fetched.insert(std::ptr::from_ref(selector), series);
        }
        Ok(Self { expr, whole, limits, fetched })
    }

    /// The answer to the whole query at a time.
    pub(super) fn answer(&self, at: i64) -> Result<Value, Error> {
        self.value(self.expr, at)
    }

    /// The same, which may be a range as it is.
    pub(super) fn top(&self, at: i64) -> Result<Value, Error> {
        let mut expr = self.expr;
        while let Expr::Paren(inner) = expr {
            expr = &inner.expr;
        }
        if !matches!(expr, Expr::MatrixSelector(_) | Expr::Subquery(_)) {
            return self.value(expr, at);
        }
        let ranged = self.range(expr, at)?;
        let all = ranged.range.iter().map(|r| Series { labels: r.labels.clone(), points: r.points.to_vec() });
        Ok(Value::Matrix(all.filter(|s| !s.points.is_empty()).collect()))
    }

    pub(super) fn value(&self, expr: &Expr, at: i64) -> Result<Value, Error> {
        if self.limits.until.is_some_and(|until| Instant::now() > until) {
            return Err(Error::Late);
        }
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(inner) => self.value(&inner.expr, at),
            Expr::Unary(inner) => match self.value(&inner.expr, at)? {
                Value::Scalar(value) => Ok(Value::Scalar(-value)),
                Value::Vector(samples) => unique(
                    samples.into_iter().map(|s| Sample { labels: s.labels.without_name(), value: -s.value }),
                ),
                Value::Matrix(_) | Value::Text(_) => {
                    Err(Error::Evaluation("only numbers have a sign".to_owned()))
                }
            },
            Expr::VectorSelector(selector) => Ok(Value::Vector(
                self.newest(selector, at).map(|(labels, p)| sample(labels, p.value)).collect(),
            )),
            Expr::Aggregate(a) => aggregate::evaluate(self, a, at),
            Expr::Binary(b) => binary::evaluate(self, b, at),
            Expr::Call(c) => call::evaluate(self, c, at),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Err(Error::Evaluation("a range stands where samples are wanted".to_owned()))
            }
            Expr::Extension(e) => Err(Error::Unsupported(e.expr.name().to_owned())),
        }
    }

    /// The samples that an expression says.
    pub(super) fn vector(&self, expr: &Expr, at: i64) -> Result<Vec<Sample>, Error> {
        match self.value(expr, at)? {
            Value::Vector(samples) => Ok(samples),
            _ => Err(Error::Evaluation("samples are wanted".to_owned())),
        }
    }

    /// The number that an expression says.
    pub(super) fn scalar(&self, expr: &Expr, at: i64) -> Result<f64, Error> {
        match self.value(expr, at)? {
            Value::Scalar(value) => Ok(value),
            _ => Err(Error::Evaluation("a number is wanted".to_owned())),
        }
    }

    /// The series that a selector chose.
    fn series(&self, selector: &VectorSelector) -> &[Series] {
        self.fetched.get(&std::ptr::from_ref(selector)).map_or(&[], Vec::as_slice)
    }

    /// The newest point of each series that stands at a time.
    pub(super) fn newest<'s>(
        &'s self,
        selector: &VectorSelector,
        at: i64,
    ) -> impl Iterator<Item = (&'s Labels, Point)> {
        let at = window::at(selector.at.as_ref(), self.whole).unwrap_or(at);
        let at = at.saturating_sub(window::offset(selector.offset.as_ref()));
        let oldest = at.saturating_sub(self.limits.lookback);
        self.series(selector).iter().filter_map(move |series| {
            let upto = series.points.partition_point(|p| p.at <= at);
            let point = *series.points.get(upto.checked_sub(1)?)?;
            (point.at >= oldest && !is_stale(point.value)).then_some((&series.labels, point))
        })
    }

    /// The points that an expression means that is a range.
    pub(super) fn range<'s>(&'s self, expr: &Expr, at: i64) -> Result<Bounded<'s>, Error> {
        match expr {
            Expr::MatrixSelector(selector) => Ok(self.selected(selector, at)),
            Expr::Subquery(subquery) => self.subquery(subquery, at),
            Expr::Paren(inner) => self.range(&inner.expr, at),
            _ => Err(Error::Evaluation("a range is wanted".to_owned())),
        }
    }

    fn selected(&self, selector: &MatrixSelector, at: i64) -> Bounded<'_> {
        let fixed = window::at(selector.vs.at.as_ref(), self.whole);
        let window = window::before(
            fixed.unwrap_or(at),
            window::offset(selector.vs.offset.as_ref()),
            millis(selector.range),
        );
        let ranged = self.series(&selector.vs).iter().map(|series| {
            let from = series.points.partition_point(|p| p.at < window.from);
            let to = series.points.partition_point(|p| p.at <= window.to);
            (series, series.points.get(from..to).unwrap_or_default())
        });
        // A series that ended within the range has a point that is no value.
        let stale = |points: &[Point]| points.iter().any(|p| is_stale(p.value));
        let ranged: Vec<_> = ranged.collect();
        let range = if ranged.iter().any(|(_, points)| stale(points)) {
            let alive = |(series, points): (&Series, &[Point])| Series {
                labels: series.labels.clone(),
                points: points.iter().filter(|p| !is_stale(p.value)).copied().collect(),
            };
            Range::Owned(ranged.into_iter().map(alive).collect())
        } else {
            Range::Borrowed(
                ranged
                    .into_iter()
                    .map(|(series, points)| Ranged { labels: &series.labels, points })
                    .collect(),
            )
        };
        Bounded { range, window }
    }

    fn subquery(&self, subquery: &SubqueryExpr, at: i64) -> Result<Bounded<'_>, Error> {
        let fixed = window::at(subquery.at.as_ref(), self.whole);
        let window = window::before(
            fixed.unwrap_or(at),
            window::offset(subquery.offset.as_ref()),
            millis(subquery.range),
        );
        let step = subquery.step.map_or(self.limits.interval, millis).max(1);
        if (window.to - window.from) / step >= self.limits.steps_max {
            return Err(Error::TooMuch(format!("{} steps of a subquery", self.limits.steps_max)));
        }
        // Its steps are multiples of their length, whatever the time at which it is asked.
        let mut then = window.from.div_euclid(step) * step;
        if then < window.from {
            then += step;
        }
        let mut out = Gathered::default();
        while then <= window.to {
            if out.points > self.limits.answer_max {
                return Err(Error::TooMuch(format!("{} points of a subquery", self.limits.answer_max)));
            }
            match self.value(&subquery.expr, then)? {
                Value::Scalar(value) => out.take(Labels::default(), then, value),
                Value::Vector(samples) => {
                    for s in samples {
                        out.take(s.labels, then, s.value);
                    }
                }
                Value::Matrix(_) | Value::Text(_) => {
                    return Err(Error::Evaluation("a subquery wants samples or a number".to_owned()));
                }
            }
            then += step;
        }
        Ok(Bounded { range: Range::Owned(out.series), window })
    }
}

/// A sample.
pub(super) fn sample(labels: &Labels, value: f64) -> Sample {
    Sample { labels: labels.clone(), value }
}

/// Samples of which no two may have the same labels.
pub(super) fn unique(samples: impl IntoIterator<Item = Sample>) -> Result<Value, Error> {
    let samples: Vec<Sample> = samples.into_iter().collect();
    let mut seen = HashSet::with_capacity(samples.len());
    if let Some(twice) = samples.iter().find(|s| !seen.insert(&s.labels)) {
        return Err(Error::Evaluation(format!("two samples have the same labels: {}", twice.labels)));
    }
    Ok(Value::Vector(samples))
}

/// The time as expressions know it: seconds since the epoch.
pub(super) const fn clock(at: i64) -> f64 {
    seconds(at)
}
