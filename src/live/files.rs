//! The files of the page, which are part of the program.

use crate::serve::Answer;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

/// What the page may do: load and call what is at its own address, and be in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
pub(super) struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const fn file(path: &'static str, kind: &'static str, text: &'static str) -> File {
    File { path, kind, text }
}

/// All of them.
static FILES: &[File] = &[
    file("/", HTML, include_str!("page/index.html")),
    file("/live/page.css", CSS, include_str!("page/page.css")),
    file("/live/uplot.css", CSS, include_str!("page/uplot.css")),
    file("/live/alerts.js", SCRIPT, include_str!("page/alerts.js")),
    file("/live/api.js", SCRIPT, include_str!("page/api.js")),
    file("/live/charts.js", SCRIPT, include_str!("page/charts.js")),
    file("/live/dom.js", SCRIPT, include_str!("page/dom.js")),
    file("/live/feed.js", SCRIPT, include_str!("page/feed.js")),
    file("/live/format.js", SCRIPT, include_str!("page/format.js")),
    file("/live/history.js", SCRIPT, include_str!("page/history.js")),
    file("/live/main.js", SCRIPT, include_str!("page/main.js")),
    file("/live/memory.js", SCRIPT, include_str!("page/memory.js")),
    file("/live/optimizer.js", SCRIPT, include_str!("page/optimizer.js")),
    file("/live/reclaim.js", SCRIPT, include_str!("page/reclaim.js")),
    file("/live/runs.js", SCRIPT, include_str!("page/runs.js")),
    file("/live/sparkline.js", SCRIPT, include_str!("page/sparkline.js")),
    file("/live/table.js", SCRIPT, include_str!("page/table.js")),
    file("/live/tables.js", SCRIPT, include_str!("page/tables.js")),
    file("/live/theme.js", SCRIPT, include_str!("page/theme.js")),
    file("/live/uplot.js", SCRIPT, include_str!("page/uplot.js")),
];

/// The file at this path.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// The page, with links to the samples at this path, which is plain text (`exporter::bad_telemetry_path`).
pub(super) fn page(telemetry_path: &str) -> String {
    let page = include_str!("page/index.html");
    page.replace("\"/metrics\"", &format!("\"{telemetry_path}\""))
        .replace(">/metrics<", &format!(">{telemetry_path}<"))
}

impl File {
    /// The answer that it is.
    pub(super) fn answer(&self) -> Answer {
        Answer::page("live", self.kind, Bytes::from_static(self.text.as_bytes()))
            // The next version of the program has other files.
            .with(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .with(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))
            .with(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .with(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The most that the whole page may have, in bytes.
    const BYTES_MAX: usize = 150_000;

    #[test]
    fn all_files_of_the_directory_are_served_and_they_are_small() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/live/page");
        let there: BTreeSet<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("LICENSE"))
            .collect();
        let name = |file: &File| match file.path {
            "/" => "index.html".to_owned(),
            path => path.strip_prefix("/live/").unwrap().to_owned(),
        };
        assert_eq!(FILES.iter().map(name).collect::<BTreeSet<_>>(), there);
        let bytes: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn what_the_files_name_is_served_and_nothing_elsewhere() {
        for file in FILES {
            let quoted = file.text.split(['"', '\'', '`']).filter(|text| text.starts_with("/live/"));
            for path in quoted.filter(|path| path.len() > "/live/".len() && *path != super::super::EVENTS) {
                assert!(find(path).is_some(), "{} names {path}", file.path);
            }
            if file.kind == HTML {
                assert!(!file.text.contains("style="), "the policy would not let it count");
                assert!(!file.text.contains("://"), "it works without any other address");
            }
        }
    }
}
