//! Results as tools write them, read into measures in base units: which of their numbers are taken, under which names.

mod k6;

use super::better::Better;
use super::standing::median;
use super::{check_name, check_value};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Who wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// k6: `--summary-export`, or what handleSummary() is given.
    K6,
    /// hyperfine: `--export-json`.
    Hyperfine,
    /// Criterion: `target/criterion/NAME/new/estimates.json`.
    Criterion,
    /// Names and numbers, as one object.
    Json,
}

/// A result as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The measure.
    pub name: String,
    /// The number, in base units.
    pub value: f64,
    /// Which way is better, where the format knows.
    pub better: Option<Better>,
}

impl Found {
    fn new(name: impl Into<String>, value: f64, better: Option<Better>) -> Self {
        Self { name: name.into(), value, better }
    }
}

/// The results in a file. `result` chooses among several, from 1 on.
pub fn read(text: &str, format: Option<Format>, result: Option<usize>) -> Result<Vec<Found>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let Value::Object(top) = value else { return Err("no JSON object".into()) };
    let format = format.unwrap_or_else(|| recognised(&top));
    if result.is_some() && format != Format::Hyperfine {
        return Err("--result chooses among the results of hyperfine; this file has no such".into());
    }
    let found = match format {
        Format::K6 => k6::read(&top),
        Format::Hyperfine => hyperfine(top, result),
        Format::Criterion => criterion(top),
        Format::Json => numbers(&top),
    }?;
    for one in &found {
        check_name("measure", &one.name)?;
        check_value(&one.name, one.value)?;
    }
    Ok(found)
}

/// By what each of them always has.
fn recognised(top: &Map<String, Value>) -> Format {
    let is = |key: &str, kind: fn(&Value) -> bool| top.get(key).is_some_and(kind);
    let metrics = top.get("results").and_then(|results| results.get("metrics"));
    if is("metrics", Value::is_object) || metrics.is_some_and(Value::is_array) {
        Format::K6
    } else if is("results", Value::is_array) {
        Format::Hyperfine
    } else if is("mean", Value::is_object) && is("median", Value::is_object) {
        Format::Criterion
    } else {
        Format::Json
    }
}

fn numbers(top: &Map<String, Value>) -> Result<Vec<Found>, String> {
    let one = |(name, value): (&String, &Value)| {
        let number = value.as_f64().ok_or_else(|| format!("{name}: {} is no number", short(value)))?;
        Ok(Found::new(name, number, None))
    };
    top.iter().map(one).collect()
}

/// What a value is, in a few words.
fn short(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        other => other.to_string().chars().take(40).collect(),
    }
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
    median: Estimate,
    /// Not in `change/estimates.json`, which has shares and not times.
    std_dev: Option<Estimate>,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Source: <https://docs.rs/criterion> (`estimate.rs`): times are in nanoseconds.
fn criterion(top: Map<String, Value>) -> Result<Vec<Found>, String> {
    let estimates: Estimates =
        serde_json::from_value(Value::Object(top)).map_err(|e| format!("no estimates of Criterion: {e}"))?;
    if estimates.std_dev.is_none() {
        return Err("estimates of a change; the results are in new/estimates.json".into());
    }
    let seconds = |name: &str, estimate: &Estimate| {
        Found::new(name, estimate.point_estimate / 1e9, Some(Better::Lower))
    };
    Ok(vec![seconds("mean_seconds", &estimates.mean), seconds("median_seconds", &estimates.median)])
}

/// One command's result, of hyperfine 1 or 2.
#[derive(Deserialize)]
struct Command {
    command: String,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Source: <https://docs.rs/crate/hyperfine/latest/source/src/benchmark/benchmark_result.rs>.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Two {
        measurements: Vec<OneTime>,
    },
    One {
        median: f64,
        min: f64,
        user: f64,
        system: f64,
        memory_usage_byte: Option<Vec<f64>>,
        #[serde(default)]
        exit_codes: Vec<Option<i64>>,
    },
}

/// One of the times that hyperfine 2 ran the command.
#[derive(Deserialize)]
struct OneTime {
    time_wall_clock: Quantity,
    time_user: Quantity,
    time_system: Quantity,
    memory_peak_resident: Option<Quantity>,
    exit_code: Option<i64>,
}

#[derive(Deserialize)]
struct Quantity {
    value: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Second,
    Millisecond,
    Microsecond,
    Byte,
}

impl Quantity {
    fn base(&self) -> f64 {
        match self.unit {
            Unit::Second | Unit::Byte => self.value,
            Unit::Millisecond => self.value / 1e3,
            Unit::Microsecond => self.value / 1e6,
        }
    }
}

fn hyperfine(mut top: Map<String, Value>, result: Option<usize>) -> Result<Vec<Found>, String> {
    let results = top.remove("results").unwrap_or_default();
    let commands: Vec<Command> =
        serde_json::from_value(results).map_err(|e| format!("no results of hyperfine: {e}"))?;
    let listed = || {
        let line = |(number, one): (usize, &Command)| {
            format!("{}: {}", number + 1, one.command.chars().take(40).collect::<String>())
        };
        commands.iter().enumerate().map(line).collect::<Vec<_>>().join(", ")
    };
    let chosen = match (result, commands.as_slice()) {
        (None, [one]) => one,
        (None, []) => return Err("hyperfine's file has no results".into()),
        (None, _) => return Err(format!("several results; choose one with --result ({})", listed())),
        (Some(number), all) => number
            .checked_sub(1)
            .and_then(|index| all.get(index))
            .ok_or_else(|| format!("--result {number}: there are {}", listed()))?,
    };
    Ok(of_command(&chosen.numbers))
}

fn of_command(numbers: &Numbers) -> Vec<Found> {
    let (median_of, min, cpu, memory, codes): (_, _, _, Option<f64>, Vec<Option<i64>>) = match numbers {
        Numbers::One { median, min, user, system, memory_usage_byte, exit_codes } => {
            let memory = memory_usage_byte.iter().flatten().copied().reduce(f64::max);
            (Some(*median), Some(*min), Some(user + system), memory, exit_codes.clone())
        }
        Numbers::Two { measurements } => {
            let each = |of: fn(&OneTime) -> f64| measurements.iter().map(of).collect::<Vec<f64>>();
            let wall = each(|one| one.time_wall_clock.base());
            let mut cpu = each(|one| one.time_user.base() + one.time_system.base());
            let memory =
                measurements.iter().filter_map(|one| Some(one.memory_peak_resident.as_ref()?.base()));
            let codes = measurements.iter().map(|one| one.exit_code).collect();
            let min = wall.iter().copied().reduce(f64::min);
            (median(&mut wall.clone()), min, median(&mut cpu), memory.reduce(f64::max), codes)
        }
    };
    let mut found = Vec::new();
    let mut add = |name: &str, value: Option<f64>| {
        found.extend(value.map(|value| Found::new(name, value, Some(Better::Lower))));
    };
    add("median_seconds", median_of);
    add("min_seconds", min);
    add("cpu_seconds", cpu);
    add("memory_peak_bytes", memory);
    // A command that fails is often fast. One that a signal ended has no code.
    let failed = codes.iter().filter(|code| **code != Some(0)).count();
    add("failed_ratio", (!codes.is_empty()).then(|| failed as f64 / codes.len() as f64));
    found
}

#[cfg(test)]
mod tests;
