//! Prometheus's query language over series that somebody keeps, with the answers of Prometheus 2.
//!
//! What is left out (native histograms, experimental functions) is an error when the expression is read, and never a
//! silent no. Source: <https://prometheus.io/docs/prometheus/latest/querying/basics/>.

mod aggregate;
mod binary;
mod bounds;
mod call;
mod error;
mod eval;
mod histogram;
mod labels;
mod over_time;
mod rate;
mod supported;
mod value;
mod window;

pub use error::Error;
pub use eval::Limits;
pub use value::{Builder, Labels, NAME, Point, Sample, Series, Value, is_stale, stale};
pub use window::Window;

use eval::Evaluation;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use std::collections::HashMap;

/// Who keeps series.
pub trait Source {
    /// The series that all matchers fit, with their points within a window; nothing if these were more than so many.
    fn select(&self, matchers: &[Matcher], window: Window, points_max: usize) -> Option<Vec<Series>>;
}

/// An expression that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    expr: Expr,
}

impl Query {
    /// Reads an expression, and refuses what could not be evaluated.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let expr = tree(text)?;
        supported::check(&expr)?;
        Ok(Self { expr })
    }

    /// What it says at a time, in milliseconds since the epoch.
    pub fn instant(&self, source: &dyn Source, at: i64, limits: Limits) -> Result<Value, Error> {
        Evaluation::new(source, &self.expr, Window { from: at, to: at }, limits)?.top(at)
    }

    /// What it says at each `step` of a window, as series.
    pub fn range(
        &self,
        source: &dyn Source,
        window: Window,
        step: i64,
        limits: Limits,
    ) -> Result<Vec<Series>, Error> {
        if step <= 0 || window.to < window.from {
            return Err(Error::Evaluation("the step or the stretch of time is not positive".to_owned()));
        }
        if (window.to - window.from) / step >= limits.steps_max {
            return Err(Error::TooMuch(format!("{} points in each series", limits.steps_max)));
        }
        let evaluation = Evaluation::new(source, &self.expr, window, limits)?;
        let mut out = Gathered::default();
        let mut at = window.from;
        while at <= window.to {
            if out.points > limits.answer_max {
                return Err(Error::TooMuch(format!("{} points of an answer", limits.answer_max)));
            }
            match evaluation.answer(at)? {
                Value::Scalar(value) => out.take(Labels::default(), at, value),
                Value::Vector(samples) => {
                    for sample in samples {
                        out.take(sample.labels, at, sample.value);
                    }
                }
                Value::Matrix(_) | Value::Text(_) => {
                    return Err(Error::Evaluation(
                        "only a number or samples can be asked for over a time".to_owned(),
                    ));
                }
            }
            at += step;
        }
        // Prometheus's order.
        out.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out.series)
    }
}

fn tree(text: &str) -> Result<Expr, Error> {
    bounds::check(text)?;
    // What the parser does not expect must cost this expression alone.
    std::panic::catch_unwind(|| parser::parse(text))
        .unwrap_or_else(|_| Err("the parser gave up".to_owned()))
        .map_err(Error::Syntax)
}

/// The matchers of a selector, such as `up{job="node"}`.
pub fn matchers(selector: &str) -> Result<Vec<Matcher>, Error> {
    match tree(selector)? {
        Expr::VectorSelector(selector) => {
            supported::check(&Expr::VectorSelector(selector.clone()))?;
            Ok(all_matchers(&selector))
        }
        _ => Err(Error::Syntax("a selector is wanted".to_owned())),
    }
}

/// The matchers of a selector, its name among them.
fn all_matchers(selector: &VectorSelector) -> Vec<Matcher> {
    let named = selector.name.as_ref().map(|name| Matcher::new(MatchOp::Equal, NAME, name));
    named.into_iter().chain(selector.matchers.matchers.iter().cloned()).collect()
}

/// Samples of many times, by series.
#[derive(Default)]
struct Gathered {
    series: Vec<Series>,
    places: HashMap<Labels, usize>,
    points: usize,
}

impl Gathered {
    fn take(&mut self, labels: Labels, at: i64, value: f64) {
        let point = Point { at, value };
        self.points += 1;
        if let Some(series) = self.places.get(&labels).and_then(|place| self.series.get_mut(*place)) {
            series.points.push(point);
            return;
        }
        self.places.insert(labels.clone(), self.series.len());
        self.series.push(Series { labels, points: vec![point] });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// One series with a point each second of an hour.
    struct Hour;

    impl Source for Hour {
        fn select(&self, _: &[Matcher], window: Window, points_max: usize) -> Option<Vec<Series>> {
            let points = (0..3600).map(|n| Point { at: n * 1000, value: n as f64 });
            let points: Vec<Point> = points.filter(|p| (window.from..=window.to).contains(&p.at)).collect();
            let labels = Labels::new([(NAME, "up")]);
            (points.len() <= points_max).then(|| vec![Series { labels, points }])
        }
    }

    #[test]
    fn a_query_takes_no_more_than_it_may() {
        let hour = Window { from: 0, to: 3_600_000 };
        let ask = |limits: Limits| {
            let query = Query::parse("sum_over_time(up[10m])").unwrap();
            query.range(&Hour, hour, 1000, limits).map(|series| series.len())
        };
        let all = Limits::default();
        let (past, soon) = (Instant::now(), Instant::now() + Duration::from_mins(10));
        assert_eq!(ask(Limits { until: Some(soon), ..all }), Ok(1));
        assert_eq!(ask(Limits { until: Some(past), ..all }), Err(Error::Late));
        for limits in [
            Limits { steps_max: 3600, ..all },
            Limits { points_max: 3599, ..all },
            Limits { answer_max: 3000, ..all },
        ] {
            assert!(matches!(ask(limits), Err(Error::TooMuch(_))), "{limits:?}");
        }
    }
}
