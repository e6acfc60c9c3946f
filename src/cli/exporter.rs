//! `headroom exporter`: its flags, among them node_exporter's.

pub(super) mod process;
mod web;

use super::foreign::Foreign;
use super::service::{Command, Parts};
use crate::config::Config;
use std::path::PathBuf;
use web::Web;

/// Flags of `headroom exporter`; each stands over its key in the configuration file.
/// Those of node_exporter for collectors are taken out before (`foreign`).
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
    /// process-exporter's configuration file (exporter.collectors.process_groups.config_file)
    #[arg(long = "process-names", alias = "config.path", value_name = "FILE")]
    process_names: Option<PathBuf>,
    #[command(flatten)]
    process: process::ProcessFlags,
    /// What node_exporter's flags say that are not flags here.
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
        self.process.apply(config);
        let collectors = &mut config.exporter.collectors;
        if let Some(file) = &self.process_names {
            collectors.process_groups.config_file = Some(file.clone());
        }
        self.foreign.apply(collectors);
    }
}
