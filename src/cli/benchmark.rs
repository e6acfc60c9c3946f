//! `headroom benchmark`: results of load tests and benchmarks, recorded, held against a baseline, and left as metrics.

mod files;
mod table;

use super::service::now_millis;
use super::{Common, load};
use crate::benchmark::better::Better;
use crate::benchmark::formats::{Format, Found, read};
use crate::benchmark::{Book, Measure, Run, check_tolerance};
use crate::config::{Config, nearest};
use anyhow::{Context, Result, anyhow, bail, ensure};
use files::Place;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The exit code where a result is worse than its baseline by more than the tolerance.
const FINDING: u8 = 1;
/// The largest file of results that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Benchmark {
    /// Record the results of one run, typed here or as the tool wrote them
    Record(Record),
    /// Make the last run the baseline of those that follow
    Accept {
        /// The benchmark
        name: String,
        #[command(flatten)]
        metrics: Metrics,
    },
    /// Remove a benchmark with all its runs
    Forget {
        /// The benchmark
        name: String,
        #[command(flatten)]
        metrics: Metrics,
    },
    /// Show the last runs beside their baselines; exit status 1 if a result is worse by more than the tolerance
    Show {
        /// Only this benchmark
        name: Option<String>,
        /// By how much a result may be worse [default: as given with the run, else 20%]
        #[arg(long, value_name = "SHARE", value_parser = share)]
        tolerance: Option<f64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Flags of `headroom benchmark record`.
#[derive(Debug, clap::Args)]
pub(super) struct Record {
    /// The benchmark: letters, digits, `_`, `.` and `-`
    name: String,
    /// Results as MEASURE=VALUE; the measure ends in its unit, such as p95_seconds or requests_per_second
    #[arg(value_name = "MEASURE=VALUE", required_unless_present = "from")]
    results: Vec<String>,
    /// The file that the tool wrote; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Who wrote the file [default: what it looks like]
    #[arg(long, requires = "from")]
    format: Option<Format>,
    /// Which of several results in hyperfine's file, from 1 on
    #[arg(long, requires = "from", value_name = "NUMBER")]
    result: Option<usize>,
    /// Take only this measure of the file, as often as needed [default: all]
    #[arg(long, requires = "from", value_name = "MEASURE")]
    only: Vec<String>,
    /// Of this measure less is better, whatever its name says
    #[arg(long, value_name = "MEASURE")]
    lower: Vec<String>,
    /// Of this measure more is better, whatever its name says
    #[arg(long, value_name = "MEASURE")]
    higher: Vec<String>,
    /// By how much a result may be worse, from now on, such as 5% [default: 20%]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    tolerance: Option<f64>,
    #[command(flatten)]
    metrics: Metrics,
}

/// Where the metrics go.
#[derive(Debug, clap::Args)]
pub(super) struct Metrics {
    /// The directory for the metrics [default: the first of exporter.collectors.textfile.directories]
    #[arg(long, value_name = "DIR", conflicts_with = "no_metrics")]
    output: Option<PathBuf>,
    /// Write no metrics
    #[arg(long)]
    no_metrics: bool,
}

impl Benchmark {
    /// Does it; the exit code says whether something regressed.
    pub(super) fn run(self, common: &Common) -> Result<u8> {
        let config = load(common, &|_| ())?;
        let (text, code) = match self {
            Self::Record(record) => (record.run(&config)?, 0),
            Self::Accept { name, metrics } => {
                let done = |book: &mut Book| ensured(book.accept(&name), book, &name);
                let kept = files::change(&metrics.place(&config)?, done)?;
                (format!("{name}: the last run is the baseline now\n{kept}"), 0)
            }
            Self::Forget { name, metrics } => {
                let done = |book: &mut Book| ensured(book.forget(&name), book, &name);
                let kept = files::change(&metrics.place(&config)?, done)?;
                (format!("{name}: forgotten\n{kept}"), 0)
            }
            Self::Show { name, tolerance, json } => show(&config, name.as_deref(), tolerance, json)?,
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(code)
    }
}

/// An error that names what was probably meant, if there is no such benchmark.
fn ensured(there: bool, book: &Book, name: &str) -> Result<()> {
    ensure!(there, unknown(book, name));
    Ok(())
}

fn unknown(book: &Book, name: &str) -> String {
    let known = book.all().map(|(known, _)| known);
    let near = nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("no run of {name:?} is recorded{near}")
}

fn show(config: &Config, name: Option<&str>, tolerance: Option<f64>, json: bool) -> Result<(String, u8)> {
    let book = files::read(config)?;
    if let Some(name) = name {
        ensured(book.get(name).is_some(), &book, name)?;
    }
    let chosen: Vec<_> = book.all().filter(|(known, _)| name.is_none_or(|name| name == *known)).collect();
    ensure!(!chosen.is_empty(), "no runs are recorded in {}", files::path(config).display());
    let report = table::report(&chosen, tolerance);
    let code = if report.regressed { FINDING } else { 0 };
    let text = if json { serde_json::to_string(&report)? + "\n" } else { report.text() };
    Ok((text, code))
}

impl Record {
    fn run(self, config: &Config) -> Result<String> {
        let place = self.metrics.place(config)?;
        let found = self.found()?;
        let mut notes = Vec::new();
        let kept = files::change(&place, |book| {
            let measures = self.directed(found, book, &mut notes)?;
            let run = Run { at_millis: now_millis(), measures };
            book.record(&self.name, run, self.tolerance).map_err(|why| anyhow!(why))
        })?;
        for note in notes {
            writeln!(io::stderr(), "headroom: {note}")?;
        }
        let book = files::read(config)?;
        let chosen: Vec<_> = book.all().filter(|(known, _)| *known == self.name).collect();
        Ok(table::report(&chosen, None).text() + &kept)
    }

    /// The results: those of the file, and those that were typed.
    fn found(&self) -> Result<Vec<Found>> {
        let mut found = match &self.from {
            Some(path) => self.of_file(path)?,
            None => Vec::new(),
        };
        for text in &self.results {
            let typed = typed(text)?;
            if found.iter().any(|one| one.name == typed.name) {
                bail!("{}: given twice", typed.name);
            }
            found.push(typed);
        }
        for name in self.lower.iter().chain(&self.higher) {
            let known = found.iter().map(|one| one.name.as_str());
            ensure!(known.clone().any(|known| known == name), "{}", no_measure(name, known));
            let twice = self.lower.contains(name) && self.higher.contains(name);
            ensure!(!twice, "{name}: --lower and --higher cannot both be");
        }
        Ok(found)
    }

    fn of_file(&self, path: &Path) -> Result<Vec<Found>> {
        let shown = path.display();
        let text = text(path).with_context(|| format!("cannot read {shown}"))?;
        let mut found = read(&text, self.format, self.result).map_err(|why| anyhow!("{shown}: {why}"))?;
        for name in &self.only {
            let known = found.iter().map(|one| one.name.as_str());
            ensure!(known.clone().any(|known| known == name), "{shown}: {}", no_measure(name, known));
        }
        found.retain(|one| self.only.is_empty() || self.only.contains(&one.name));
        Ok(found)
    }

    /// With each its direction: as said now, as it was in the last run, as the format has it, or as the name has it. What was
    /// typed without one is a slip; of a file it is left out, for it may have much that nobody asked for.
    fn directed(
        &self,
        found: Vec<Found>,
        book: &Book,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Measure>> {
        // As it was last said: a run in between may not have had the measure.
        let known = book.get(&self.name);
        let known =
            || known.iter().flat_map(|benchmark| benchmark.runs.iter().rev().chain(&benchmark.accepted));
        let mut measures = BTreeMap::new();
        for Found { name, value, better } in found {
            let said = if self.lower.contains(&name) {
                Some(Better::Lower)
            } else {
                self.higher.contains(&name).then_some(Better::Higher)
            };
            let before = known().find_map(|run| run.measures.get(&name)).map(|measure| measure.better);
            let Some(better) = said.or(before).or(better).or_else(|| Better::by_name(&name)) else {
                let remedy = format!(
                    "{name}: whether less or more is better is not known; say --lower {name} or --higher {name}"
                );
                if self.from.is_none() {
                    bail!(remedy);
                }
                notes.push(format!("left out, {remedy}"));
                continue;
            };
            measures.insert(name, Measure { value, better });
        }
        ensure!(!measures.is_empty(), "nothing is left to record: {}", notes.join("; "));
        Ok(measures)
    }
}

impl Metrics {
    fn place(&self, config: &Config) -> Result<Place> {
        let metrics = if self.no_metrics {
            None
        } else if let Some(directory) = &self.output {
            Some((directory.clone(), "--output"))
        } else {
            let pattern = |directory: &&String| !directory.contains(['*', '?', '[']);
            let directory = config.exporter.collectors.textfile.directories.iter().find(pattern);
            let directory = directory.context(
                "there is no directory for the metrics: name one in exporter.collectors.textfile.directories (without * ? [), \
                 or with --output DIR; --no-metrics does without",
            )?;
            Some((PathBuf::from(directory), "exporter.collectors.textfile.directories"))
        };
        Ok(Place { state: files::path(config), metrics })
    }
}

fn typed(text: &str) -> Result<Found> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| anyhow!("{text}: MEASURE=VALUE is what it takes"))?;
    crate::benchmark::check_name("measure", name).map_err(|why| anyhow!(why))?;
    let value = value.trim().parse().map_err(|_| anyhow!("{text}: {value:?} is no number"))?;
    crate::benchmark::check_value(name, value).map_err(|why| anyhow!(why))?;
    Ok(Found { name: name.to_owned(), value, better: None })
}

fn no_measure<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("no measure {name:?}; did you mean `{near}`?"),
        None => format!("no measure {name:?}; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(std::fs::File::open(path)?) };
    let mut text = String::new();
    source.by_ref().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// `20%` or `0.2`.
fn share(text: &str) -> Result<f64, String> {
    let (number, of) = text.trim().strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let number: f64 =
        number.trim().parse().map_err(|_| format!("{text:?} is no share such as 20% or 0.2"))?;
    check_tolerance(number / of).map(|()| number / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_a_share() {
        for (text, want) in
            [("20%", Some(0.2)), ("0.05", Some(0.05)), (" 5 % ", Some(0.05)), ("100%", Some(1.0))]
        {
            assert_eq!(share(text).ok(), want, "{text}");
        }
        for wrong in ["20", "0", "-5%", "nan", "inf", "", "%", "x"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_typed_wrong_is_named() {
        let half = Found { name: "p95_seconds".into(), value: 0.5, better: None };
        assert_eq!(typed("p95_seconds=0.5").unwrap(), half);
        for (text, why) in [
            ("p95", "MEASURE=VALUE"),
            ("p95=fast", "\"fast\" is no number"),
            ("p95=-1", "p95: -1 is no measure"),
            ("p95=inf", "no measure"),
            ("a b=1", "' '"),
            ("=1", "empty"),
        ] {
            let said = typed(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
