//! Who may import whom. `ARCHITECTURE.md` shows the same table; this test holds both against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module of the top level, and the modules that it may import. The kit is a crate of its own (`kit/`), which has none of them.
const TABLE: &[(&str, &[&str])] = &[
    ("kit", &[]),
    ("metric", &[]),
    ("sys", &[]),
    ("serve", &[]),
    ("client", &[]),
    ("matching", &[]),
    ("benchmark", &["metric"]),
    ("promql", &[]),
    ("otlp", &["client"]),
    ("host", &["sys"]),
    ("encode", &["metric"]),
    ("collect", &["metric", "host"]),
    ("apps", &["metric", "sys", "host", "collect", "encode", "serve", "client"]),
    ("exporter", &["metric", "host", "collect", "encode", "serve", "apps"]),
    ("export", &["metric", "host", "encode", "client", "otlp", "exporter"]),
    ("monitor", &["promql", "metric", "serve", "client", "export", "exporter"]),
    ("optimize", &["metric", "host", "collect", "encode", "serve", "client", "matching", "otlp"]),
    ("live", &["metric", "serve", "client", "exporter", "optimize"]),
    ("stack", &["sys"]),
    ("services", &["matching"]),
    (
        "config",
        &[
            "host", "client", "otlp", "apps", "collect", "export", "exporter", "monitor", "optimize",
            "stack", "services",
        ],
    ),
];

/// All source files with their text before the first test.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let all = sources_below("src");
    assert!(all.len() > 50, "the sources were not found");
    all
}

/// The same of any directory.
pub(crate) fn sources_below(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                out.push((path, code));
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut out);
    out
}

/// The modules of the top level that a text names, as `crate::a` or `use crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    let lines: String =
        code.lines().filter(|l| !l.trim_start().starts_with("//")).fold(String::new(), |a, l| a + l);
    for rest in lines.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if fresh && c.is_alphabetic() => {
                    found.insert(word(&list[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    for (path, code) in sources() {
        let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["main", "lib", "cli", "fuzzing"].contains(&module.as_str()) {
            continue;
        }
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the table"));
        for import in imports(&code) {
            assert!(
                import == module || may.contains(&import.as_str()),
                "{}: `{module}` must not import `{import}`",
                relative.display()
            );
        }
    }
}

#[test]
fn the_architecture_shows_the_same_table() {
    let text = include_str!("../../ARCHITECTURE.md");
    for (module, may) in TABLE {
        let may = if may.is_empty() { "nothing of ours".into() } else { format!("`{}`", may.join("`, `")) };
        let row = format!("| `{module}` | {may} |");
        assert!(text.contains(&row), "ARCHITECTURE.md lacks the row {row}");
    }
}

#[test]
fn an_import_is_seen_in_every_form() {
    let code = "use crate::a::b;\n// crate::no\nuse crate::{c, d::{e, f}, self::g};\nlet x = crate::h::i();";
    let expected = ["a", "c", "d", "h", "self"].map(String::from);
    assert_eq!(imports(code), expected.into());
}
