//! `headroom rules`: the rules that come with the program, said and written with the user's thresholds.

use super::{Common, load};
use crate::config::nearest;
use crate::services::rules::{FILE, HEAD, text as of_services};
use crate::stack::files::RULES;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What may be asked.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Rules {
    /// One line for each alert, and the thresholds with their values
    List,
    /// All about one alert: expression, thresholds, what it says, its runbook
    Explain {
        /// The alert's name
        name: String,
    },
    /// Write the rule files into a directory, for Prometheus's `rule_files`
    Write {
        /// The directory; it is made if it is missing
        directory: PathBuf,
        /// A threshold: NAME=VALUE, as often as needed (names: headroom rules list)
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// As PrometheusRule objects, for the Prometheus Operator in Kubernetes
        #[arg(long)]
        operator: bool,
        /// Replace files that are there and differ
        #[arg(long)]
        force: bool,
    },
    /// Make the rules of your services: what is recorded of them, alerts on burning budgets and thresholds
    Generate {
        /// Write services.yml into this directory, which is made if it is missing [default: print it]
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// As a PrometheusRule object, services.yaml, for the Prometheus Operator in Kubernetes
        #[arg(long)]
        operator: bool,
        /// Replace a file that is there and was not made by this command
        #[arg(long)]
        force: bool,
    },
}

/// An alert as the files have it.
struct Alert {
    name: String,
    expr: String,
    held: String,
    kept: String,
    severity: String,
    summary: String,
    description: String,
    runbook: String,
}

impl Rules {
    /// Prints or writes them.
    pub(super) fn run(self, common: &Common) -> Result<u8> {
        let text = match self {
            Self::List => list()?,
            Self::Explain { name } => explain(&name)?,
            Self::Write { directory, set, operator, force } => {
                let mut files = with_thresholds(&set)?;
                if operator {
                    files = files.into_iter().map(|file| as_object(file, WRITTEN)).collect::<Result<_>>()?;
                }
                write(&directory, &files, force)?
            }
            Self::Generate { output, operator, force } => {
                generate(common, output.as_deref(), operator, force)?
            }
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn list() -> Result<String> {
    let alerts = alerts()?;
    let width = alerts.iter().map(|a| a.name.len()).max().unwrap_or_default();
    let line = |a: &Alert| format!("{:width$}  {:8}  {}", a.name, a.severity, plain(&a.summary));
    let mut lines: Vec<String> = alerts.iter().map(line).collect();
    lines.push("\nThresholds, for `headroom rules write DIR --set NAME=VALUE`:".into());
    lines.extend(thresholds().map(|(name, value)| format!("  {name} = {value}")));
    Ok(lines.join("\n") + "\n")
}

fn explain(name: &str) -> Result<String> {
    let alerts = alerts()?;
    let found = alerts.iter().find(|a| a.name == name);
    let a = found.ok_or_else(|| {
        anyhow!("{name:?} is no alert of ours{}", near(name, alerts.iter().map(|a| &*a.name)))
    })?;
    let mut lines = vec![
        format!("{} ({})\n\n{}\n", a.name, a.severity, plain(&a.description)),
        format!("It fires when this has held for {}{}:\n", a.held, kept(&a.kept)),
    ];
    lines.extend(a.expr.trim().lines().map(|line| format!("    {line}")));
    let used: Vec<_> = thresholds().filter(|(name, _)| a.expr.contains(name)).collect();
    if !used.is_empty() {
        lines.push("\nThresholds:".into());
        lines.extend(used.iter().map(|(name, value)| format!("    {name} = {value}")));
    }
    lines.push(format!("\nRunbook: {}\n", a.runbook));
    Ok(lines.join("\n"))
}

/// The first line of each object that `write` makes.
const WRITTEN: &str = "# Made by `headroom rules write --operator`; the file that it is made of says why each rule is as it is.\n";

/// How long an alert stays when its expression holds no more.
fn kept(time: &str) -> String {
    if time.is_empty() { String::new() } else { format!(", and for {time} after it does no more") }
}

/// A rule file as an object of the Prometheus Operator, with this first line.
/// Source: <https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule>.
fn as_object((file, text): (String, String), head: &str) -> Result<(String, String)> {
    let spec: Value = serde_yaml::from_str(&text).with_context(|| file.clone())?;
    let name = file.trim_end_matches(".yml");
    let object = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": { "name": format!("headroom-{name}"), "labels": { "app.kubernetes.io/name": "headroom" } },
        "spec": spec,
    });
    let yaml = serde_yaml::to_string(&object)?;
    Ok((format!("{name}.yaml"), format!("{head}{yaml}")))
}

fn write(directory: &Path, files: &[(String, String)], force: bool) -> Result<String> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    // All are looked at before one is written.
    for (name, text) in files {
        let path = directory.join(name);
        if !force && there(&path)?.is_some_and(|there| there != text.as_bytes()) {
            bail!("{} is there and differs; --force replaces it", path.display());
        }
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        written.push(format!("{}\n", path.display()));
    }
    Ok(written.concat())
}

/// What a file holds; `None` only if there is none.
fn there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

fn generate(common: &Common, output: Option<&Path>, operator: bool, force: bool) -> Result<String> {
    let services = load(common, &|_| ())?.services;
    if services.is_empty() {
        bail!("no services are configured (services)");
    }
    let text = of_services(&services).map_err(|why| anyhow!(why))?;
    let file = (FILE.to_owned(), text);
    let (name, text) = if operator { as_object(file, HEAD)? } else { file };
    let Some(directory) = output else { return Ok(text) };
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(name);
    if !force && there(&path)?.is_some_and(|there| !there.starts_with(HEAD.as_bytes())) {
        bail!("{} is there and was not made by this command; --force replaces it", path.display());
    }
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(format!("{}\n", path.display()))
}

/// The files, with what `set` says in place of the thresholds of these names.
fn with_thresholds(set: &[String]) -> Result<Vec<(String, String)>> {
    let mut files: Vec<_> =
        RULES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    for one in set {
        let (name, value) =
            one.split_once('=').ok_or_else(|| anyhow!("--set {one}: NAME=VALUE is what it takes"))?;
        let value: f64 = value
            .trim()
            .parse()
            .ok()
            .filter(|v: &f64| v.is_finite())
            .ok_or_else(|| anyhow!("--set {one}: {value:?} is no number"))?;
        let (_, old) = thresholds().find(|(known, _)| *known == name).ok_or_else(|| {
            anyhow!("--set {one}: no threshold has this name{}", near(name, thresholds().map(|t| t.0)))
        })?;
        let line = |value: &str| format!("- record: {name}\n        expr: vector({value})\n");
        for (_, text) in &mut files {
            *text = text.replace(&line(old), &line(&value.to_string()));
        }
    }
    Ok(files)
}

/// Names and values of the thresholds, as `thresholds.yml` has them.
fn thresholds() -> impl Iterator<Item = (&'static str, &'static str)> {
    let text = RULES.iter().find(|(name, _)| *name == "thresholds.yml").map_or("", |(_, text)| *text);
    text.split("- record: ").skip(1).filter_map(|part| {
        let (name, rest) = part.split_once('\n')?;
        let (_, value) = rest.split_once("vector(")?;
        Some((name.trim(), value.split_once(')')?.0))
    })
}

fn alerts() -> Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for (file, text) in RULES {
        let value: Value = serde_yaml::from_str(text).with_context(|| (*file).to_owned())?;
        let groups = value.get("groups").and_then(Value::as_array).into_iter().flatten();
        for rule in groups.filter_map(|g| g.get("rules")?.as_array()).flatten() {
            let text =
                |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(name) = rule.get("alert").and_then(Value::as_str) else { continue };
            alerts.push(Alert {
                name: name.to_owned(),
                expr: text("/expr"),
                held: text("/for"),
                kept: text("/keep_firing_for"),
                severity: text("/labels/severity"),
                summary: text("/annotations/summary"),
                description: text("/annotations/description"),
                runbook: text("/annotations/runbook_url"),
            });
        }
    }
    Ok(alerts)
}

/// A template as a person reads it: `{{ $labels.instance }}` is INSTANCE, a value is N, and of words that are chosen among
/// all are shown.
fn plain(template: &str) -> String {
    let mut out = String::new();
    let (mut rest, mut with) = (template, "");
    while let Some((before, after)) = rest.split_once("{{") {
        out += before;
        let (inside, after) = after.split_once("}}").unwrap_or((after, ""));
        let inside = inside.trim();
        if let Some(label) = inside.strip_prefix("with $labels.") {
            with = label;
        } else if let Some(label) = inside.strip_prefix("$labels.").or((inside == ".").then_some(with)) {
            out += &label.to_uppercase();
        } else if inside.starts_with("else") {
            out += ", or ";
        } else if inside.contains("value") {
            out.push('N');
        }
        rest = after;
    }
    out + rest
}

/// The known name that was probably meant.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_replaced_and_its_neighbours_stay() {
        let files = with_thresholds(&["headroom:memory_available_warning:ratio=0.25".into()]).unwrap();
        let text = &files.iter().find(|(n, _)| *n == "thresholds.yml").unwrap().1;
        assert!(
            text.contains("- record: headroom:memory_available_warning:ratio\n        expr: vector(0.25)\n")
        );
        assert!(
            text.contains("- record: headroom:memory_available_critical:ratio\n        expr: vector(0.10)\n")
        );
        assert_eq!(thresholds().count(), text.matches("- record:").count(), "one of them is not seen");
    }

    #[test]
    fn what_is_no_threshold_or_no_number_is_refused() {
        let refused = |set: &str| with_thresholds(&[set.into()]).unwrap_err().to_string();
        assert!(
            refused("headroom:memory_available_warnin:ratio=1")
                .contains("headroom:memory_available_warning:ratio")
        );
        assert!(refused("headroom:memory_available_warning:ratio=1)").contains("no number"));
        assert!(refused("headroom:memory_available_warning:ratio=NaN").contains("no number"));
        assert!(refused("x").contains("NAME=VALUE"));
    }

    #[test]
    fn files_that_differ_are_replaced_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let (own, set) =
            (with_thresholds(&[]).unwrap(), ["headroom:memory_available_warning:ratio=0.25".to_owned()]);
        let other = with_thresholds(&set).unwrap();
        write(dir.path(), &own, false).unwrap();
        write(dir.path(), &own, false).unwrap();
        assert!(write(dir.path(), &other, false).unwrap_err().to_string().contains("--force"));
        write(dir.path(), &other, true).unwrap();
        // What is no text is somebody's as well, and so is what cannot be read.
        let path = dir.path().join("thresholds.yml");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(write(dir.path(), &own, false).unwrap_err().to_string().contains("--force"));
        assert_eq!(std::fs::read(&path).unwrap(), b"\xff");
        assert_eq!(there(&path).unwrap().as_deref(), Some(&b"\xff"[..]));
        assert_eq!(there(&dir.path().join("none")).unwrap(), None);
        assert!(there(dir.path()).is_err());
    }

    #[test]
    fn every_alert_is_explained() {
        for a in alerts().unwrap() {
            let text = explain(&a.name).unwrap();
            assert!(
                text.contains(a.expr.lines().next().unwrap()) && text.contains("/docs/runbooks/"),
                "{text}"
            );
            assert!(!text.split("It fires").next().unwrap().contains("{{"), "{text}");
        }
        for (template, want) in [
            ("{{ $value | humanize }} of {{ $labels.a }}", "N of A"),
            ("none{{ with $labels.a }} by {{ . }}{{ end }}", "none by A"),
            ("of {{ with $labels.a }}{{ . }}{{ else }}any{{ end }}", "of A, or any"),
            (
                "{{ if $labels.a }}one{{ else if $labels.b }}two{{ else }}three{{ end }}.",
                "one, or two, or three.",
            ),
        ] {
            assert_eq!(plain(template), want);
        }
        assert!(
            explain("MachineMemoryAvailableLo")
                .unwrap_err()
                .to_string()
                .contains("MachineMemoryAvailableLow")
        );
    }
}
