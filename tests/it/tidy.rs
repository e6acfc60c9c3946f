//! House rules that a compiler does not know: sizes, first lines, unfinished words, places of effects.

use crate::layers::{sources, sources_below};
use std::path::Path;
use std::process::Command;

/// Longer files hold two ideas.
const LINES_MAX: usize = 500;

#[test]
fn every_file_says_what_it_knows_and_is_not_too_long() {
    let kit = sources_below("kit").into_iter().chain(sources_below("examples"));
    assert!(kit.clone().count() > 20, "the kit's sources were not found");
    for (path, code) in sources().into_iter().chain(kit) {
        assert!(
            code.starts_with("//! "),
            "{}: the first line does not say what the file knows",
            path.display()
        );
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines; split it", path.display());
    }
}

#[test]
fn files_of_the_host_are_opened_in_host_alone() {
    // Files that are no kernel files: the journal, generated files, configuration, tokens.
    const MAY: [&str; 17] = [
        "host",
        "apps/probe/ask.rs",
        "fuzzing",
        "cli",
        "config.rs",
        "client/trust.rs",
        "otlp.rs",
        "export/queue/disk.rs",
        "export/remote_write.rs",
        "monitor/notify.rs",
        "optimize/policy/endpoint.rs",
        "serve/tls.rs",
        "serve/token.rs",
        "stack",
        "optimize/journal.rs",
        "optimize/journal/room.rs",
        "optimize/pause.rs",
    ];
    for (path, code) in sources() {
        let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let excused = MAY.iter().any(|m| relative.starts_with(m) || relative == Path::new(m))
            || relative == Path::new("host.rs");
        let opens = ["File::open", "fs::read", "fs::write", "OpenOptions"].iter().find(|w| code.contains(*w));
        assert!(excused || opens.is_none(), "{}: {opens:?} belongs into `host`", relative.display());
    }
}

#[test]
fn collectors_ask_the_kernel_where_it_is_counted() {
    // What writes to the host, and what polls for the optimizer, is no collector's.
    const EXCUSED: [&str; 5] =
        ["host/counted.rs", "host/hand.rs", "host/hand/apart.rs", "host/hand/audience.rs", "host/stall.rs"];
    const CALLS: [&str; 13] = [
        "std::fs::File",
        "fs::read_dir",
        "fs::metadata",
        "fs::read_link",
        "fs::canonicalize",
        "fs::read(",
        "fs::open(",
        "fs::stat",
        "UnixStream",
        "net::socket",
        "net::recv",
        ".exists()",
        ".is_dir()",
    ];
    for (path, code) in sources() {
        let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let theirs = relative.starts_with("host")
            || relative.starts_with("collect")
            || relative == Path::new("host.rs");
        if !theirs || EXCUSED.iter().any(|excused| relative == Path::new(excused)) {
            continue;
        }
        let code = code.replace("counted::", "counted_").replace("kind.is_dir()", "");
        let found = CALLS.iter().find(|call| code.contains(*call));
        assert!(found.is_none(), "{}: {found:?} is not counted; see `host::counted`", relative.display());
    }
}

#[test]
fn only_the_executor_and_actions_hold_a_hand() {
    for (path, code) in sources() {
        let text = path.to_string_lossy();
        let may = text.contains("src/optimize/") || text.contains("src/host/hand");
        let makes = ["Hand::new", "Hand::beside"].iter().any(|w| code.contains(w));
        assert!(may || !makes, "{text}: makes a Hand");
    }
}

#[test]
fn nothing_unfinished_and_no_names_that_say_nothing() {
    let output = Command::new("git").args(["ls-files"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Ok(output) = output.as_ref().map(|o| String::from_utf8_lossy(&o.stdout)) else {
        eprintln!("SKIPPED: git is not installed");
        return;
    };
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "unimplemented".to_owned() + "!"];
    for file in output.lines().filter(|f| !f.starts_with("tests/host/") && *f != "Cargo.lock") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!["utils", "helpers", "common", "manager"].contains(&stem.as_str()), "{file}: says nothing");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for word in &words {
            assert!(!text.contains(word), "{file}: {word}");
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifests = [include_str!("../../Cargo.toml"), include_str!("../../kit/Cargo.toml")].join("\n");
    let reasons = include_str!("../../ARCHITECTURE.md").split("## Dependencies").nth(1).unwrap();
    let mut inside = false;
    for line in manifests.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" =").filter(|_| inside) {
            let named = reasons.lines().any(|row| {
                let first = row.split('|').nth(1).unwrap_or_default();
                first.split([',', ' ', '(', ')']).any(|word| word == name)
            });
            assert!(named, "ARCHITECTURE.md has no line for the dependency {name}");
        }
    }
}

#[test]
fn who_links_the_kit_compiles_nothing_of_the_rest() {
    let manifest = include_str!("../../Cargo.toml");
    let app = manifest.split("\napp = [").nth(1).and_then(|rest| rest.split("\n]").next()).unwrap();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside =
                line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if let Some((name, rest)) = line.split_once(" =").filter(|_| inside) {
            assert!(
                rest.contains("optional = true"),
                "{name}: not optional, so that the kit brings it along"
            );
            let of_app = app.contains(&format!("\"dep:{name}\""));
            assert_eq!(of_app, name != "headroom-kit", "{name}: all but the kit belong to the feature `app`");
        }
    }
    for (path, code) in sources() {
        let top = path.ends_with("src/lib.rs");
        let open = code.lines().zip(code.lines().skip(1)).filter(|(_, line)| line.starts_with("pub mod "));
        for (attribute, line) in open.filter(|_| top) {
            let gated = attribute.contains("feature = \"app\"") || attribute.starts_with("#[path");
            assert!(gated, "{line}: is not behind the feature `app`");
        }
    }
}
