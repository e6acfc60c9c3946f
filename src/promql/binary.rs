//! Operators between two expressions.

use super::error::Error;
use super::eval::{Evaluation, unique};
use super::value::{Labels, Sample, Value};
use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL, T_NEQ,
    T_POW, T_SUB, TokenId,
};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};
use std::collections::{HashMap, HashSet};

/// What an operator says at a time.
pub(super) fn evaluate(evaluation: &Evaluation<'_>, b: &BinaryExpr, at: i64) -> Result<Value, Error> {
    let (left, right) = (evaluation.value(&b.lhs, at)?, evaluation.value(&b.rhs, at)?);
    let op = Operator { id: b.op.id(), modifier: b.modifier.as_ref() };
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let truth = f64::from(u8::from(op.holds(left, right)));
            Ok(Value::Scalar(if op.compares() { truth } else { op.number(left, right)? }))
        }
        (Value::Vector(left), Value::Scalar(right)) => op.with_scalar(left, right, false),
        (Value::Scalar(left), Value::Vector(right)) => op.with_scalar(right, left, true),
        (Value::Vector(left), Value::Vector(right)) => match op.id {
            T_LAND | T_LOR | T_LUNLESS => Ok(Value::Vector(op.set(left, right))),
            _ => op.vectors(left, right),
        },
        _ => Err(Error::Evaluation("an operator wants numbers or samples".to_owned())),
    }
}

struct Operator<'a> {
    id: TokenId,
    modifier: Option<&'a BinModifier>,
}

impl Operator<'_> {
    fn compares(&self) -> bool {
        [T_EQLC, T_NEQ, T_GTR, T_LSS, T_GTE, T_LTE].contains(&self.id)
    }

    /// Whether a comparison says 0 or 1, instead of what passes.
    fn is_bool(&self) -> bool {
        self.modifier.is_some_and(|m| m.return_bool)
    }

    #[expect(clippy::float_cmp, reason = "that is what == asks")]
    fn holds(&self, left: f64, right: f64) -> bool {
        match self.id {
            T_EQLC => left == right,
            T_NEQ => left != right,
            T_GTR => left > right,
            T_LSS => left < right,
            T_GTE => left >= right,
            T_LTE => left <= right,
            _ => false,
        }
    }

    fn number(&self, left: f64, right: f64) -> Result<f64, Error> {
        Ok(match self.id {
            T_ADD => left + right,
            T_SUB => left - right,
            T_MUL => left * right,
            T_DIV => left / right,
            T_MOD => left % right,
            T_POW => left.powf(right),
            T_ATAN2 => left.atan2(right),
            _ => return Err(Error::Evaluation("a set operator wants samples on both sides".to_owned())),
        })
    }

    /// What two values make, nothing where a comparison does not hold.
    fn pair(&self, left: f64, right: f64) -> Result<Option<f64>, Error> {
        if !self.compares() {
            return self.number(left, right).map(Some);
        }
        let holds = self.holds(left, right);
        Ok(if self.is_bool() { Some(f64::from(u8::from(holds))) } else { holds.then_some(left) })
    }

    /// Whether the result is another quantity, and has no name.
    fn drops_name(&self) -> bool {
        !self.compares() || self.is_bool()
    }

    fn with_scalar(&self, samples: Vec<Sample>, scalar: f64, swapped: bool) -> Result<Value, Error> {
        let mut out = Vec::with_capacity(samples.len());
        for Sample { labels, value } in samples {
            let (left, right) = if swapped { (scalar, value) } else { (value, scalar) };
            let Some(result) = self.pair(left, right)? else { continue };
            // What passes a comparison is the sample, on whichever side it stands.
            let value = if self.compares() && !self.is_bool() { value } else { result };
            let labels = if self.drops_name() { labels.without_name() } else { labels };
            out.push(Sample { labels, value });
        }
        unique(out)
    }

    /// The labels by which two samples find each other.
    fn key(&self, labels: &Labels) -> Labels {
        match self.modifier.and_then(|m| m.matching.as_ref()) {
            Some(LabelModifier::Include(names)) => labels.keep(|name| names.labels.iter().any(|n| n == name)),
            Some(LabelModifier::Exclude(names)) => {
                labels.keep(|name| name != super::NAME && !names.labels.iter().any(|n| n == name))
            }
            None => labels.without_name(),
        }
    }

    fn set(&self, left: Vec<Sample>, right: Vec<Sample>) -> Vec<Sample> {
        if self.id == T_LOR {
            let known: HashSet<Labels> = left.iter().map(|s| self.key(&s.labels)).collect();
            let others = right.into_iter().filter(|s| !known.contains(&self.key(&s.labels)));
            return left.into_iter().chain(others).collect();
        }
        let known: HashSet<Labels> = right.iter().map(|s| self.key(&s.labels)).collect();
        let wanted = self.id == T_LAND;
        left.into_iter().filter(|s| known.contains(&self.key(&s.labels)) == wanted).collect()
    }

    fn vectors(&self, left: Vec<Sample>, right: Vec<Sample>) -> Result<Value, Error> {
        if left.is_empty() || right.is_empty() {
            return Ok(Value::Vector(Vec::new()));
        }
        let card = self.modifier.map_or(&VectorMatchCardinality::OneToOne, |m| &m.card);
        let swapped = matches!(card, VectorMatchCardinality::OneToMany(_));
        // The side of which each may meet only one of the other side stands second.
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let mut ones: HashMap<Labels, Sample> = HashMap::with_capacity(one.len());
        for sample in one {
            let key = self.key(&sample.labels);
            if let Some(other) = ones.get(&key) {
                return Err(Error::Evaluation(format!(
                    "found duplicate series for the match group {key} on the {} hand-side of the operation: {} and {}",
                    if swapped { "left" } else { "right" },
                    other.labels,
                    sample.labels
                )));
            }
            ones.insert(key, sample);
        }
        let mut seen: HashSet<(Labels, Labels)> = HashSet::new();
        let mut out = Vec::new();
        for sample in many {
            let key = self.key(&sample.labels);
            let Some(other) = ones.get(&key) else { continue };
            let (l, r) = if swapped { (other.value, sample.value) } else { (sample.value, other.value) };
            let Some(value) = self.pair(l, r)? else { continue };
            let labels = self.result(&sample.labels, &other.labels, card);
            // One to one, each key may come once; else, each result.
            let unique = if matches!(card, VectorMatchCardinality::OneToOne) {
                (key, Labels::default())
            } else {
                (key, labels.clone())
            };
            if !seen.insert(unique) {
                return Err(Error::Evaluation(format!(
                    "multiple matches for labels of {}: grouping must be explicit and ensure unique matches",
                    sample.labels
                )));
            }
            out.push(Sample { labels, value });
        }
        Ok(Value::Vector(out))
    }

    fn result(&self, many: &Labels, one: &Labels, card: &VectorMatchCardinality) -> Labels {
        let labels = if self.drops_name() { many.without_name() } else { many.clone() };
        match card {
            VectorMatchCardinality::ManyToOne(extra) | VectorMatchCardinality::OneToMany(extra) => {
                if extra.labels.is_empty() {
                    return labels;
                }
                let mut edit = labels.edit();
                for name in &extra.labels {
                    edit.set(name, one.get(name));
                }
                edit.labels()
            }
            _ => match self.modifier.and_then(|m| m.matching.as_ref()) {
                Some(LabelModifier::Include(names)) => {
                    labels.keep(|name| names.labels.iter().any(|n| n == name))
                }
                Some(LabelModifier::Exclude(names)) => {
                    labels.keep(|name| !names.labels.iter().any(|n| n == name))
                }
                None => labels,
            },
        }
    }
}
