//! `headroom actions report`: the optimizer's own account of its actions, as a table.

use crate::cli::remote;
use crate::cli::{Common, load};
use anyhow::{Context, Result};
use bytesize::ByteSize;
use hyper::Method;
use serde_json::Value;
use std::fmt::Write;

const COLUMNS: [&str; 9] =
    ["action", "target", "tries", "effective", "no gain", "harmful", "median gain", "breaker", "last"];

/// The report as people read it, or as the API gives it.
pub(super) fn text(common: &Common, api: &remote::Args, json: bool) -> Result<String> {
    let optimizer = api.optimizer(&load(common, &|_| ())?)?;
    let body = optimizer.call(Method::GET, "actions/report", None)?;
    if json {
        return Ok(format!("{}\n", String::from_utf8(body).context("the optimizer's answer is no text")?));
    }
    let report: Value = serde_json::from_slice(&body).context("the optimizer's answer is not understood")?;
    let lines =
        report.get("lines").and_then(Value::as_array).context("the optimizer's answer has no lines")?;
    Ok(table(lines))
}

fn table(lines: &[Value]) -> String {
    if lines.is_empty() {
        return "nothing was tried yet\n".to_owned();
    }
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(lines.iter().map(row));
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
        let harm = number.checked_sub(1).and_then(|n| lines.get(n)?.get("last_harm")?.as_str());
        if let Some(harm) = harm {
            // A String takes everything.
            let _written = writeln!(out, "    harm: {harm}");
        }
    }
    out
}

fn row(line: &Value) -> [String; COLUMNS.len()] {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number = |key: &str| line.get(key).and_then(Value::as_u64);
    let count = |key: &str| number(key).map_or_else(|| "-".to_owned(), |n| n.to_string());
    let share = line.get("effective_ratio").and_then(Value::as_f64);
    let share = share.map_or_else(|| "-".to_owned(), |s| format!("{:.0} %", s * 100.0));
    let gain = number("gain_median_bytes");
    let gain = gain.map_or_else(|| "-".to_owned(), |b| ByteSize::b(b).display().iec().to_string());
    let time = |key: &str| {
        line.get(key).and_then(Value::as_i64).and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
    };
    let breaker = match time("breaker_until_millis") {
        Some(until) => format!("open until {until:.0}"),
        None => text("breaker").replace('_', "-"),
    };
    let last = time("last_at_millis").map_or_else(String::new, |at| format!(" at {at:.0}"));
    let last = format!("{}{last}", text("last").replace('_', " "));
    let [tries, no_gain, harmful] = ["tries", "no_gain", "harmful"].map(count);
    [text("action"), text("target"), tries, share, no_gain, harmful, gain, breaker, last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_pair_has_a_row_and_its_last_harm_below() {
        let line = json!({"action": "pageout", "target": "cache", "tries": 4, "no_gain": 1, "harmful": 1,
            "effective_ratio": 0.5, "gain_median_bytes": 41_943_040, "last": "no_gain", "last_at_millis": 1_800_000_000_000_i64,
            "last_harm": "the machine stalled", "breaker": "open", "breaker_until_millis": 1_800_003_600_000_i64});
        let text = table(&[line]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("action   target  tries  effective"), "{text}");
        for part in [
            "pageout",
            "50 %",
            "40.0 MiB",
            "open until 2027-01-15T09:00:00Z",
            "no gain at 2027-01-15T08:00:00Z",
        ] {
            assert!(lines[1].contains(part), "{part}: {text}");
        }
        assert_eq!(lines[2], "    harm: the machine stalled");
        assert_eq!(table(&[]), "nothing was tried yet\n");
    }
}
