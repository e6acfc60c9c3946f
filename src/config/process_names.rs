//! process-exporter's configuration file, read as it is: its `process_names` become rules.

use super::{ConfigError, read_text, text_error};
use crate::host::group::{Grouping, Rule};
use serde::Deserialize;
use serde_yaml::Spanned;
use std::path::Path;

/// The file. process-exporter passes over keys that it does not know, so they are passed over here too.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    process_names: Option<Vec<Spanned<Entry>>>,
}

/// One entry; a key without a value is as if it were not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: Option<String>,
    comm: Option<Vec<String>>,
    exe: Option<Vec<String>>,
    cmdline: Option<Vec<String>>,
}

/// The rules in the file at `path`, in its order.
pub(super) fn process_names(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    parse(&read_text(path)?, path)
}

pub(crate) fn parse(text: &str, path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let file: File = serde_yaml::from_str(text).map_err(|e| text_error(&e, path))?;
    let entries = file.process_names.unwrap_or_default();
    if entries.is_empty() {
        let why =
            "no `process_names`: a list of what is to be grouped, each with comm, exe or cmdline".into();
        return Err(ConfigError::Text { path: path.to_owned(), place: None, why });
    }
    entries.into_iter().enumerate().map(|(i, entry)| rule(i, entry, path)).collect()
}

/// One rule, tried by itself, so that a mistake has its place in the file.
fn rule(index: usize, entry: Spanned<Entry>, path: &Path) -> Result<Rule, ConfigError> {
    let (place, entry) = (entry.referenced, entry.value);
    let rule = Rule {
        name: entry.name.unwrap_or_default(),
        comm: entry.comm.unwrap_or_default(),
        exe: entry.exe.unwrap_or_default(),
        cmdline: entry.cmdline.unwrap_or_default(),
        borrowed: true,
        ..Rule::default()
    };
    match Grouping::new(std::slice::from_ref(&rule)) {
        Ok(_) => Ok(rule),
        Err(e) => {
            let why = e.to_string();
            let why = why.strip_prefix("rule 1 ").unwrap_or(&why);
            Err(ConfigError::Text {
                path: path.to_owned(),
                place: Some((place.line(), place.column())),
                why: format!("process_names[{index}] {why}"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that process-exporter's documentation shows.
    const PACKAGED: &str = "process_names:\n  - name: \"{{.Comm}}\"\n    cmdline:\n    - '.+'\n";
    const MANUAL: &str = r#"
process_names:
  # comm is the second field of /proc/<pid>/stat minus parens.
  - comm:
    - bash
  - exe:
    - postgres
    - /usr/local/bin/prometheus
  - name: "{{.ExeFull}}:{{.Matches.Cfgfile}}"
    exe:
    - /usr/local/bin/process-exporter
    cmdline:
    - -config.path\s+(?P<Cfgfile>\S+)
  - exe:
    - /sbin/upstart
    cmdline:
    - --user
    name: upstart:-user
    comm:
    later_versions_may_know_this: 1
"#;

    fn rules(text: &str) -> Result<Vec<Rule>, String> {
        parse(text, Path::new("/etc/p.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_files_of_its_manual_are_accepted() {
        let packaged = rules(PACKAGED).unwrap();
        assert_eq!((packaged[0].name.as_str(), packaged[0].borrowed), ("{{.Comm}}", true));
        let all = rules(MANUAL).unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[1].exe, ["postgres", "/usr/local/bin/prometheus"]);
        assert_eq!((all[3].name.as_str(), all[3].comm.len()), ("upstart:-user", 0));
        assert_eq!(rules("process_names:\n- comm: [123, true]\n").unwrap()[0].comm, ["123", "true"]);
    }

    #[test]
    fn a_mistake_has_its_place() {
        for (text, want) in [
            (
                "process_names:\n  - comm: [a]\n  - name: x\n",
                "/etc/p.yaml:3:5: process_names[1] (`x`): matches nothing",
            ),
            (
                "process_names:\n  - cmdline: ['(']\n",
                "/etc/p.yaml:2:5: process_names[0] (``): the expression `(`",
            ),
            (
                "process_names:\n  - comm: [a]\n    name: '{{.Nosuch}}'\n",
                "/etc/p.yaml:2:5: process_names[0] (`{{.Nosuch}}`)",
            ),
            ("process_names:\n  - comm: a\n", "/etc/p.yaml:2:"),
            ("process_names: [\n", "/etc/p.yaml:"),
            ("other: 1\n", "/etc/p.yaml: no `process_names`"),
        ] {
            let error = rules(text).unwrap_err();
            assert!(error.starts_with(want), "{text:?} gave {error:?}, not {want:?}");
        }
    }
}
