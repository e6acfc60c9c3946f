//! The table of what came of each scenario with each tool, medians of the repetitions, and which targets were met.
//!
//! The targets: with Headroom the kernel kills nothing and nothing that should come through is lost, ever; the service's worst
//! answer takes a tenth of what it takes with nothing, and less than with each peer; it acts within 100 ms of the trouble's
//! beginning. The same machine with memory to spare (`room`) is as good as it gets: what is no more than half again of that
//! is as good as with no trouble at all, and counts as met.

use super::scenario::{ALL, Scenario};
use super::tool::{HEADROOM, NOTHING, ROOM};
use std::collections::BTreeMap;
use std::process::ExitCode;

const BETTER: f64 = 10.0;
const AS_GOOD: f64 = 1.5;
const REACTION_MILLIS: f64 = 100.0;

/// What one repetition said.
type Said = BTreeMap<String, String>;

/// All repetitions of one tool in one scenario.
struct Cell(Vec<Said>);

impl Cell {
    fn word(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().map(move |said| said.get(key).map_or("", String::as_str))
    }

    /// Whether the tool was there all the time.
    fn runs(&self) -> bool {
        self.word("tool_runs").all(|word| word == "true")
    }

    /// The median of those repetitions that have this figure. Of an even number the worse one.
    fn median(&self, key: &str) -> Option<f64> {
        let mut all: Vec<f64> = self.word(key).filter_map(|word| word.parse().ok()).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    fn sum(&self, key: &str) -> f64 {
        self.word(key).filter_map(|word| word.parse::<f64>().ok()).sum()
    }

    /// The service's worst answer. One that did not come, because the service was gone, took for ever.
    fn worst(&self) -> f64 {
        let mut all: Vec<f64> =
            self.word("worst").map(|word| word.parse().unwrap_or(f64::INFINITY)).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    /// What was lost in any repetition.
    fn lost(&self) -> String {
        let mut all: Vec<&str> =
            self.word("lost").flat_map(|w| w.split('+')).filter(|w| *w != "none").collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() { "none".into() } else { all.join(" ") }
    }

    /// Where the time of the first reaction went, in each repetition.
    fn phases(&self) -> String {
        let all = self.word("phases").filter(|word| !word.is_empty() && *word != "none");
        let line = |word: &str| format!("\n    reaction, ms: {}", word.replace(',', ", ").replace(':', " "));
        all.map(line).collect::<Vec<_>>().concat()
    }

    fn row(&self, tool: &str) -> String {
        let figure = |value: Option<f64>, digits: usize| {
            value.filter(|v| v.is_finite()).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
        };
        let gained =
            self.median("gained").zip(self.median("cpu")).filter(|(gained, cpu)| *gained > 0.0 && *cpu > 0.0);
        let reaction = self.median("reaction").map_or_else(
            || if self.sum("acts") > 0.0 { "before".into() } else { "-".into() },
            |millis| if millis < 0.0 { "before".into() } else { format!("{millis:.0}") },
        );
        format!(
            "  {tool:<10} {:>5.0}  {:<22} {:>7} {:>8} {:>7} {:>9} {:>9} {:>9}",
            self.sum("oom"),
            self.lost(),
            figure(self.median("p99"), 1),
            figure(Some(self.worst()), 1),
            figure(self.median("full").map(|millis| millis / 1e3), 2),
            figure(self.median("least"), 0),
            figure(gained.map(|(gained, cpu)| gained / cpu), 0),
            reaction,
        )
    }
}

/// Reads the lines of the scenarios of these names, or of all; prints; ends with 1 if a target is missed, or could not be tried.
pub fn show(file: &str, names: &[&str]) -> ExitCode {
    let text = std::fs::read_to_string(file).unwrap();
    let mut cells: BTreeMap<(String, String), Cell> = BTreeMap::new();
    let mut tools: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("RESULT tool=")) {
        let said: Said = line
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        if !tools.contains(&said["tool"]) {
            tools.push(said["tool"].clone());
        }
        let key = (said["scenario"].clone(), said["tool"].clone());
        cells.entry(key).or_insert_with(|| Cell(Vec::new())).0.push(said);
    }
    let repetitions = cells.values().map(|cell| cell.0.len()).max().unwrap_or(0);
    println!(
        "\nmedians of {repetitions}; kills and losses of all; latency of the service in ms; `room` has memory to spare"
    );
    let mut verdicts = Vec::new();
    for scenario in ALL.iter().filter(|s| names.is_empty() || names.contains(&s.name)) {
        println!("\n{}: {}", scenario.name, scenario.what);
        println!(
            "  tool         OOM  lost                       p99    worst  full s least MiB MiB/CPU-s reaction ms"
        );
        let cell = |tool: &str| cells.get(&(scenario.name.to_owned(), tool.to_owned()));
        for tool in &tools {
            match cell(tool) {
                Some(own) if own.runs() => println!("{}{}", own.row(tool), own.phases()),
                Some(_) => println!("  {tool:<10} did not run, or not to the end"),
                None if !scenario.is_for(tool) => {}
                None => println!("  {tool:<10} did not come to its end"),
            }
        }
        if scenario.name != "calm" && tools.iter().any(|tool| tool == HEADROOM) {
            verdicts.extend(judge(scenario, &tools, cell, repetitions));
        }
    }
    println!("\ntargets");
    for (met, text) in &verdicts {
        println!("  {:<7} {text}", if *met { "MET" } else { "MISSED" });
    }
    if verdicts.iter().all(|(met, _)| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge<'c>(
    scenario: &Scenario,
    tools: &[String],
    cell: impl Fn(&str) -> Option<&'c Cell>,
    repetitions: usize,
) -> Vec<(bool, String)> {
    let name = scenario.name;
    let Some(own) = cell(HEADROOM).filter(|own| own.0.len() == repetitions) else {
        return vec![(false, format!("{name}: not all repetitions with Headroom came to their end"))];
    };
    let runs = own.runs();
    let (oom, lost, worst) = (own.sum("oom"), own.lost(), own.worst());
    let mut out = vec![(
        runs && oom == 0.0 && lost == "none",
        format!("{name}: no OOM kill ({oom:.0}), nothing lost ({lost})"),
    )];
    let floor = cell(ROOM).map_or(0.0, Cell::worst) * AS_GOOD;
    if let Some(nothing) = cell(NOTHING).map(Cell::worst) {
        out.push((
            worst <= nothing / BETTER || worst <= floor,
            format!("{name}: worst answer {worst:.1} ms, at most a tenth of {nothing:.1} ms with nothing, or {floor:.1} ms"),
        ));
    }
    for peer in tools.iter().filter(|tool| ![NOTHING, ROOM, HEADROOM].contains(&tool.as_str())) {
        let Some(theirs) = cell(peer).filter(|theirs| theirs.runs()).map(Cell::worst) else { continue };
        out.push((
            worst < theirs || worst <= floor,
            format!("{name}: worst answer {worst:.1} ms, less than {theirs:.1} ms with {peer}, or at most {floor:.1} ms"),
        ));
    }
    if let Some(most) = scenario.some_max {
        let some = own.median("some").unwrap_or(f64::INFINITY);
        out.push((some <= most, format!("{name}: some task waited for {some:.0} ms, at most {most:.0} ms")));
    }
    // Without any trouble there is nothing to react to. Who acts before it has no time, or one below nothing.
    let troubled = own.word("trouble").any(|word| word == "true");
    let reaction = own.median("reaction");
    let (met, when) = match reaction {
        None if !troubled && own.sum("acts") > 0.0 => (true, "before it".to_owned()),
        None if !troubled => (true, "none, and no trouble".to_owned()),
        None => (false, "none".to_owned()),
        Some(millis) if millis < 0.0 => (true, "before it".to_owned()),
        Some(millis) => (millis <= REACTION_MILLIS, format!("after {millis:.0} ms")),
    };
    out.push((met, format!("{name}: first action {when}; within {REACTION_MILLIS:.0} ms of the trouble")));
    out
}
