//! `headroom exporter`: its flags, among them node_exporter's.

mod web;

use super::service::{Command, Parts};
use crate::collect::REGISTRY;
use crate::config::Config;
use std::ffi::OsString;
use std::path::PathBuf;
use web::Web;

/// Flags of `headroom exporter`; each stands over its key in the configuration file.
/// `--collector.NAME`, `--no-collector.NAME` and `--collector.disable-defaults` work as in node_exporter.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    web: Box<Web>,
    /// Where the proc file system is mounted (paths.procfs) [default: /proc]
    #[arg(long = "path.procfs", value_name = "DIR")]
    procfs: Option<PathBuf>,
    /// Where the sys file system is mounted (paths.sysfs) [default: /sys]
    #[arg(long = "path.sysfs", value_name = "DIR")]
    sysfs: Option<PathBuf>,
    /// Where the host's root is mounted (paths.rootfs) [default: /]
    #[arg(long = "path.rootfs", value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Where udev keeps its data (paths.udev_data) [default: /run/udev/data]
    #[arg(long = "path.udev.data", value_name = "DIR")]
    udev_data: Option<PathBuf>,
    /// A directory of *.prom files; may be given more than once (exporter.collectors.textfile.directories)
    #[arg(long = "collector.textfile.directory", value_name = "DIR")]
    textfile: Vec<String>,
    /// process-exporter's configuration file (exporter.collectors.process_groups.config_file)
    #[arg(long = "process-names", alias = "config.path", value_name = "FILE")]
    process_names: Option<PathBuf>,
    /// What node_exporter's other flags say.
    #[arg(skip)]
    pub(super) foreign: Foreign,
}

impl Command for Args {
    const PARTS: Parts = Parts { exporter: true, optimizer: false };

    fn apply(&self, config: &mut Config) {
        self.web.apply(config);
        for (flag, key) in [
            (&self.procfs, &mut config.paths.procfs),
            (&self.sysfs, &mut config.paths.sysfs),
            (&self.rootfs, &mut config.paths.rootfs),
            (&self.udev_data, &mut config.paths.udev_data),
        ] {
            if let Some(path) = flag {
                key.clone_from(path);
            }
        }
        if !self.textfile.is_empty() {
            config.exporter.collectors.textfile.directories.clone_from(&self.textfile);
        }
        let collectors = &mut config.exporter.collectors;
        if let Some(file) = &self.process_names {
            collectors.process_groups.config_file = Some(file.clone());
        }
        collectors.disable_defaults |= self.foreign.disable_defaults;
        collectors.enabled.extend(self.foreign.enabled.iter().cloned());
        collectors.disabled.extend(self.foreign.disabled.iter().cloned());
    }
}

/// What node_exporter's flags say that are not flags here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Foreign {
    disable_defaults: bool,
    enabled: Vec<String>,
    disabled: Vec<String>,
    /// Flags that have no effect here, each to be named in a warning.
    pub unknown: Vec<String>,
}

impl Foreign {
    fn note(&mut self, flag: &str) {
        let known = |name: &&str| REGISTRY.iter().any(|entry| entry.name == *name);
        if flag == "--collector.disable-defaults" {
            self.disable_defaults = true;
        } else if let Some(name) = flag.strip_prefix("--collector.").filter(known) {
            self.enabled.push(name.to_owned());
        } else if let Some(name) = flag.strip_prefix("--no-collector.").filter(known) {
            self.disabled.push(name.to_owned());
        } else {
            self.unknown.push(flag.to_owned());
        }
    }
}

/// Takes node_exporter's flags that clap does not know here out of the arguments of `headroom exporter`, so that its
/// users can keep their command line: an unknown one is named in a warning instead of stopping the start.
pub(super) fn split_foreign(arguments: Vec<OsString>) -> (Vec<OsString>, Foreign) {
    const KNOWN: [&str; 5] = [
        "--path.procfs",
        "--path.sysfs",
        "--path.rootfs",
        "--path.udev.data",
        "--collector.textfile.directory",
    ];
    const THEIRS: [&str; 6] =
        ["--collector.", "--no-collector.", "--web.", "--no-web.", "--path.", "--runtime."];
    let (mut own, mut foreign) = (Vec::new(), Foreign::default());
    if arguments.get(1).is_none_or(|command| command != "exporter") {
        return (arguments, foreign);
    }
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next() {
        let text = argument.to_str().unwrap_or_default();
        let name = text.split('=').next().unwrap_or_default();
        if KNOWN.contains(&name)
            || web::FLAGS.contains(&name)
            || !THEIRS.iter().any(|prefix| name.starts_with(prefix))
        {
            own.push(argument);
            continue;
        }
        let mut flag = text.to_owned();
        // `--flag value`: there are no arguments here but flags and their values.
        let value = rest.next_if(|next| name == text && !next.as_encoded_bytes().starts_with(b"-"));
        if let Some(value) = value {
            flag = format!("{flag}={}", value.to_string_lossy());
        }
        foreign.note(&flag);
    }
    (own, foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_exporters_unknown_flags_are_set_aside() {
        let args = [
            "headroom",
            "exporter",
            "--path.procfs=/p",
            "--collector.nosuch.thing",
            "7",
            "--collector.stat",
            "--collector.disable-defaults",
            "--no-collector.cpu",
            "--web.x=1",
            "--config",
            "c",
        ];
        let (own, foreign) = split_foreign(args.map(OsString::from).to_vec());
        assert_eq!(own, ["headroom", "exporter", "--path.procfs=/p", "--config", "c"]);
        assert_eq!(foreign.unknown, ["--collector.nosuch.thing=7", "--web.x=1"]);
        assert_eq!((foreign.enabled, foreign.disabled), (vec!["stat".to_owned()], vec!["cpu".to_owned()]));
        assert!(foreign.disable_defaults);
        let (own, foreign) = split_foreign(["headroom", "up", "--collector.x"].map(OsString::from).to_vec());
        assert_eq!((own.len(), foreign), (3, Foreign::default()));
    }
}
