//! Aggregations: many samples to one for each group of labels.

use super::error::Error;
use super::eval::{Evaluation, unique};
use super::over_time::quantile;
use super::value::{Labels, NAME, Sample, Value};
use promql_parser::parser::token::{
    T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_MAX, T_MIN, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUM,
    T_TOPK,
};
use promql_parser::parser::{AggregateExpr, LabelModifier};
use std::cmp::Ordering;
use std::collections::HashMap;

/// What an aggregation says at a time.
pub(super) fn evaluate(evaluation: &Evaluation<'_>, a: &AggregateExpr, at: i64) -> Result<Value, Error> {
    let number = |default: f64| match &a.param {
        Some(param) => evaluation.scalar(param, at),
        None => Ok(default),
    };
    let mut samples = evaluation.vector(&a.expr, at)?;
    let op = a.op.id();
    let param = if [T_TOPK, T_BOTTOMK, T_QUANTILE].contains(&op) { number(f64::NAN)? } else { f64::NAN };
    let mut modifier = a.modifier.clone();
    if op == T_COUNT_VALUES {
        let Some(Value::Text(name)) = a.param.as_ref().map(|p| evaluation.value(p, at)).transpose()? else {
            return Err(Error::Evaluation("count_values() wants the name of a label".to_owned()));
        };
        samples = with_values(samples, &name);
        modifier = Some(with_label(modifier, &name));
    }
    let groups = grouped(samples, modifier.as_ref());
    if [T_TOPK, T_BOTTOMK].contains(&op) {
        return Ok(Value::Vector(best(groups, param, op == T_TOPK)));
    }
    let reduce = |samples: &[Sample]| -> Result<f64, Error> {
        let values = samples.iter().map(|s| s.value);
        Ok(match op {
            T_SUM => values.sum(),
            T_AVG => mean(values),
            T_COUNT | T_COUNT_VALUES => samples.len() as f64,
            T_GROUP => 1.0,
            T_MIN => values.reduce(|a, b| if a > b || a.is_nan() { b } else { a }).unwrap_or(f64::NAN),
            T_MAX => values.reduce(|a, b| if a < b || a.is_nan() { b } else { a }).unwrap_or(f64::NAN),
            T_STDDEV => variance(values).sqrt(),
            T_STDVAR => variance(values),
            T_QUANTILE => quantile(param, values.collect()),
            _ => return Err(Error::Unsupported(format!("the aggregation {}", a.op))),
        })
    };
    let out: Result<Vec<Sample>, Error> =
        groups.into_iter().map(|(labels, samples)| Ok(Sample { value: reduce(&samples)?, labels })).collect();
    unique(out?)
}

/// The samples of each group, in the order in which the groups came.
fn grouped(samples: Vec<Sample>, modifier: Option<&LabelModifier>) -> Vec<(Labels, Vec<Sample>)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<Sample>)> = Vec::new();
    for sample in samples {
        let labels = group_of(&sample.labels, modifier);
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(sample);
        }
    }
    groups
}

fn group_of(labels: &Labels, modifier: Option<&LabelModifier>) -> Labels {
    let among = |names: &promql_parser::label::Labels, name: &str| names.labels.iter().any(|own| own == name);
    match modifier {
        None => Labels::default(),
        Some(LabelModifier::Include(names)) => labels.keep(|name| among(names, name)),
        Some(LabelModifier::Exclude(names)) => labels.keep(|name| name != NAME && !among(names, name)),
    }
}

/// Each sample with its value as a label, as `count_values` counts them.
fn with_values(samples: Vec<Sample>, name: &str) -> Vec<Sample> {
    let write = |sample: Sample| {
        let mut labels = sample.labels.edit();
        labels.set(name, &number(sample.value));
        Sample { labels: labels.labels(), ..sample }
    };
    samples.into_iter().map(write).collect()
}

fn with_label(modifier: Option<LabelModifier>, name: &str) -> LabelModifier {
    match modifier {
        Some(LabelModifier::Exclude(names)) => LabelModifier::Exclude(names),
        Some(LabelModifier::Include(names)) => LabelModifier::Include(names.append(name.to_owned())),
        None => LabelModifier::Include(promql_parser::label::Labels::new(vec![name])),
    }
}

/// A number as Prometheus writes it into a label.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// The `k` largest or smallest of each group, as they are, the best first.
fn best(groups: Vec<(Labels, Vec<Sample>)>, k: f64, largest: bool) -> Vec<Sample> {
    if k.is_nan() || k < 1.0 {
        return Vec::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast keeps to the bounds")]
    let k = k as usize;
    let order = |a: &Sample, b: &Sample| {
        let order = a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
        // What is no number is the worst.
        a.value.is_nan().cmp(&b.value.is_nan()).then(if largest { order.reverse() } else { order })
    };
    let mut out = Vec::new();
    for (_, mut samples) in groups {
        samples.sort_by(order);
        samples.truncate(k);
        out.append(&mut samples);
    }
    out
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for value in values {
        count += 1.0;
        if count < 1.5 {
            mean = value;
            continue;
        }
        if mean.is_infinite() {
            let same = value.is_infinite() && (mean > 0.0) == (value > 0.0);
            if same || value.is_finite() {
                continue;
            }
        }
        // Divided first: the difference of two large values could be infinite.
        mean += value / count - mean / count;
    }
    mean
}

fn variance(mut values: impl Iterator<Item = f64>) -> f64 {
    // Of a single value it is 0, even if that is infinite.
    let (mut count, mut mean, mut squares) = (1.0, values.next().unwrap_or(f64::NAN), 0.0);
    for value in values {
        count += 1.0;
        let from = value - mean;
        mean += from / count;
        squares += from * (value - mean);
    }
    squares / count
}
