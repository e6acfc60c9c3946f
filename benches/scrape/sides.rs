//! The two programs that are compared, and how each is told what to collect.

use crate::server::{Coding, Server, free_address};
use std::path::{Path, PathBuf};
use std::process::Command;

/// node_exporter as it is installed here.
pub(crate) struct NodeExporter {
    program: PathBuf,
    version: String,
    /// Collectors that it runs by default.
    defaults: Vec<String>,
}

impl NodeExporter {
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program =
            headroom::stack::supervise::find(&["prometheus-node-exporter", "node_exporter"], &path)?;
        let says = |flag: &str| {
            let output = Command::new(&program).arg(flag).output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let version = says("--version").split_whitespace().nth(2).unwrap_or("?").to_owned();
        // `--collector.NAME Enable the NAME collector (default: enabled).`, over several lines.
        let help = says("--help").split_whitespace().collect::<Vec<_>>().join(" ");
        let flags = help.split("--collector.").filter_map(|flag| flag.split_once(" Enable the "));
        let on =
            flags.filter(|(name, text)| text.starts_with(&format!("{name} collector (default: enabled)")));
        let defaults = on.map(|(name, _)| name.to_owned()).collect();
        Some(Self { program, version, defaults })
    }

    /// The collectors that both programs run by default.
    pub(crate) fn shared_defaults(&self) -> Vec<String> {
        let ours = |name: &&String| headroom::collect::REGISTRY.iter().any(|e| e.on && e.name == **name);
        self.defaults.iter().filter(ours).cloned().collect()
    }

    pub(crate) async fn start(&self, what: &str, flags: &[String], coding: Coding) -> Server {
        let address = free_address();
        let mut command = Command::new(&self.program);
        command.arg(format!("--web.listen-address={address}")).args(flags);
        let name = format!("node_exporter {}, {what}", self.version);
        Server::start(name, &mut command, address, coding).await
    }
}

/// node_exporter's flags for these collectors and no others.
pub(crate) fn only(collectors: &[String]) -> Vec<String> {
    let mut flags = vec!["--collector.disable-defaults".to_owned()];
    flags.extend(collectors.iter().map(|name| format!("--collector.{name}")));
    flags
}

/// Flags and options by which both leave out what is about themselves: the rest is the same series.
pub(crate) const WITHOUT_OWN: &str = "--web.disable-exporter-metrics";
pub(crate) const WITHOUT_OURS: &str = "disable_exporter_metrics: true, ";

/// Our exporter below another program (`wrapper`), or alone; with these options of `exporter`.
pub(crate) async fn headroom(
    name: &str,
    wrapper: &[String],
    options: &str,
    dir: &Path,
    coding: Coding,
) -> Server {
    let address = free_address();
    let config = dir.join(format!("{}.yaml", address.port()));
    // Each scrape makes its own pass: one that shares another's would cost next to nothing.
    std::fs::write(&config, format!("exporter: {{listen: '{address}', page_age_max: 0s, {options}}}\n"))
        .unwrap();
    let program = env!("CARGO_BIN_EXE_headroom").to_owned();
    let mut words = wrapper.iter().chain([&program]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["exporter", "--config"]).arg(config);
    Server::start(name.to_owned(), &mut command, address, coding).await
}
