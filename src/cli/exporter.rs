//! `headroom exporter`: its flags, among them node_exporter's.

use super::service::{Command, Parts};
use crate::config::Config;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `headroom exporter`; each stands over its key in the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Where to listen (exporter.listen) [default: 127.0.0.1:9177]
    #[arg(long = "web.listen-address", alias = "listen", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
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
}

impl Command for Args {
    const PARTS: Parts = Parts { exporter: true, optimizer: false };

    fn apply(&self, config: &mut Config) {
        if let Some(address) = self.listen {
            config.exporter.listen = address;
        }
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
    }
}

/// `:9100` means every address, as in node_exporter.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole
        .parse()
        .map_err(|_| "not an address; give IP:PORT such as 127.0.0.1:9177, or :PORT for every address".into())
}

/// Takes node_exporter's flags that are not known here out of the arguments of `headroom exporter`, so that its users
/// can keep their command line: they are named in a warning instead of stopping the start.
pub(super) fn split_foreign(arguments: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    const KNOWN: [&str; 6] = [
        "--web.listen-address",
        "--path.procfs",
        "--path.sysfs",
        "--path.rootfs",
        "--path.udev.data",
        "--collector.textfile.directory",
    ];
    if arguments.get(1).is_none_or(|command| command != "exporter") {
        return (arguments, Vec::new());
    }
    let is_foreign = |text: &str| {
        let name = text.split('=').next().unwrap_or_default();
        let theirs = ["--collector.", "--no-collector.", "--web.", "--no-web.", "--path.", "--runtime."];
        theirs.iter().any(|prefix| name.starts_with(prefix)) && !KNOWN.contains(&name)
    };
    let (foreign, own) = arguments.into_iter().partition::<Vec<_>, _>(|a| a.to_str().is_some_and(is_foreign));
    (own, foreign.into_iter().filter_map(|a| a.into_string().ok()).collect())
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
            "--collector.wifi",
            "--no-collector.cpu",
            "--web.x=1",
            "--config",
            "c",
        ];
        let (own, foreign) = split_foreign(args.map(OsString::from).to_vec());
        assert_eq!(own, ["headroom", "exporter", "--path.procfs=/p", "--config", "c"]);
        assert_eq!(foreign, ["--collector.wifi", "--no-collector.cpu", "--web.x=1"]);
        let (own, foreign) = split_foreign(["headroom", "up", "--collector.x"].map(OsString::from).to_vec());
        assert_eq!((own.len(), foreign.len()), (3, 0));
    }

    #[test]
    fn a_port_alone_means_every_address() {
        assert_eq!(address(":9100"), Ok(SocketAddr::from(([0, 0, 0, 0], 9100))));
        assert_eq!(address("127.0.0.1:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(address("x").is_err());
    }
}
