//! Collectors: what one is, the list of all, and the pass over them.
//!
//! Adding a collector is one file in `collect/` and one line in [`REGISTRY`] (and a field in
//! [`Options`] if it has any).

pub mod applications;
pub mod arp;
pub mod bcache;
pub mod bcachefs;
mod board;
pub mod bonding;
pub mod btrfs;
pub mod buddyinfo;
pub mod cap;
pub mod cgroup;
pub mod cgroups;
pub mod conntrack;
pub mod containers;
mod cost;
pub mod cpu;
pub mod cpu_vulnerabilities;
pub mod cpufreq;
pub mod diskstats;
pub mod dmi;
pub mod dmmultipath;
pub mod drbd;
pub mod edac;
pub mod entropy;
pub mod ethtool;
mod family;
pub mod fibrechannel;
pub mod filefd;
pub mod filesystem;
mod filter;
pub mod hwmon;
pub mod infiniband;
pub mod interrupts;
pub mod ipvs;
pub mod kernel_hung;
pub mod ksmd;
pub mod later;
pub mod lnstat;
pub mod loadavg;
#[cfg(any(target_os = "macos", test))]
mod macos;
pub mod mdadm;
pub mod meminfo;
pub mod meminfo_numa;
pub mod mountstats;
pub mod netclass;
pub mod netdev;
pub mod netstat;
pub mod network_route;
pub mod nfs;
pub mod nfsd;
pub mod nvme;
pub mod os;
pub mod own;
pub mod pcidevice;
pub mod powersupplyclass;
pub mod pressure;
pub mod process_groups;
pub mod processes;
pub mod qdisc;
pub mod rapl;
pub mod schedstat;
pub mod scraper;
pub mod selinux;
pub mod slabinfo;
pub mod sockstat;
pub mod softirqs;
pub mod softnet;
pub mod stat;
pub mod sysctl;
pub mod systemd;
mod table;
pub mod tapestats;
pub mod tcpstat;
pub mod textfile;
pub mod thermal_zone;
pub mod time;
#[cfg(target_os = "linux")]
pub mod timex;
mod trend;
pub mod udp_queues;
#[cfg(target_os = "linux")]
pub mod uname;
pub mod vmstat;
pub mod watchdog;
pub mod wifi;
pub mod xfrm;
pub mod xfs;
pub mod zfs;
pub mod zoneinfo;

use crate::host::{Host, HostError};
use crate::metric::Sink;
pub use scraper::Scraper;
use serde::Deserialize;

/// Reads one kind of kernel file and writes its samples.
pub trait Collector: Send {
    /// Reads all, parses all, then writes: an error leaves nothing half written, and the scraper
    /// takes back what a collector wrote before it failed.
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError>;
}

/// Why a collector has no samples in this pass.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// This kernel or this machine has no such thing.
    #[error("{0} is not there")]
    Absent(String),
    /// A file could not be read or understood.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

/// A collector in the list: its name (the `collector` label, the configuration's word) and how it is made.
pub struct Entry {
    /// The name, as in node_exporter's `--collector.NAME`.
    pub name: &'static str,
    /// Whether it runs unless it is asked for: as in node_exporter, where that has it.
    pub on: bool,
    /// Makes the collector for a host with the user's options.
    pub make: fn(&Host, &Options) -> Made,
}

/// A new collector, or the option that it cannot use.
pub type Made = Result<Box<dyn Collector>, OptionError>;

/// An option of a collector that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct OptionError {
    /// The configuration key below `exporter.collectors`.
    pub key: String,
    /// What is wrong with its value, and what would be right.
    pub why: String,
}

/// All collectors of this system.
#[cfg(target_os = "macos")]
pub const REGISTRY: &[Entry] = macos::REGISTRY;

/// All collectors, in the order in which they write. `textfile` stands last: it must not take the
/// name of a family that another one owns.
#[cfg(target_os = "linux")]
pub const REGISTRY: &[Entry] = &[
    arp::ENTRY,
    bcache::ENTRY,
    bcachefs::ENTRY,
    bonding::ENTRY,
    btrfs::ENTRY,
    buddyinfo::ENTRY,
    cgroups::ENTRY,
    conntrack::ENTRY,
    cpu::ENTRY,
    cpu_vulnerabilities::ENTRY,
    cpufreq::ENTRY,
    diskstats::ENTRY,
    dmi::ENTRY,
    dmmultipath::ENTRY,
    drbd::ENTRY,
    edac::ENTRY,
    entropy::ENTRY,
    ethtool::ENTRY,
    fibrechannel::ENTRY,
    filefd::ENTRY,
    filesystem::ENTRY,
    hwmon::ENTRY,
    infiniband::ENTRY,
    interrupts::ENTRY,
    ipvs::ENTRY,
    kernel_hung::ENTRY,
    ksmd::ENTRY,
    lnstat::ENTRY,
    loadavg::ENTRY,
    mdadm::ENTRY,
    meminfo::ENTRY,
    meminfo_numa::ENTRY,
    mountstats::ENTRY,
    netclass::ENTRY,
    netdev::ENTRY,
    netstat::ENTRY,
    network_route::ENTRY,
    nfs::ENTRY,
    nfsd::ENTRY,
    nvme::ENTRY,
    os::ENTRY,
    pcidevice::ENTRY,
    powersupplyclass::ENTRY,
    pressure::ENTRY,
    processes::ENTRY,
    qdisc::ENTRY,
    rapl::ENTRY,
    schedstat::ENTRY,
    selinux::ENTRY,
    slabinfo::ENTRY,
    sockstat::ENTRY,
    softirqs::ENTRY,
    softnet::ENTRY,
    stat::ENTRY,
    sysctl::ENTRY,
    systemd::ENTRY,
    tapestats::ENTRY,
    tcpstat::ENTRY,
    thermal_zone::ENTRY,
    time::ENTRY,
    timex::ENTRY,
    udp_queues::ENTRY,
    uname::ENTRY,
    vmstat::ENTRY,
    watchdog::ENTRY,
    wifi::ENTRY,
    xfrm::ENTRY,
    xfs::ENTRY,
    zfs::ENTRY,
    zoneinfo::ENTRY,
    cgroup::ENTRY,
    containers::ENTRY,
    process_groups::ENTRY,
    applications::ENTRY,
    textfile::ENTRY,
];

/// Which collectors run, and the options of each.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether only the collectors in `enabled` run.
    pub disable_defaults: bool,
    /// Names of collectors that run though they do not by default.
    pub enabled: Vec<String>,
    /// Names of collectors that do not run, whatever else is said.
    pub disabled: Vec<String>,
    /// How many series one collector may have; what is more is left out, and counted in
    /// `headroom_collector_series_cut`.
    pub series_max: cap::SeriesMax,
    /// The same for single collectors, by name.
    pub series_max_by_collector: cap::PerCollector,
    /// What `applications` shows.
    #[serde(skip)]
    pub applications: applications::Source,
    /// Of `arp`.
    pub arp: arp::Options,
    /// Of `bcache`.
    pub bcache: bcache::Options,
    /// Of `cgroup`.
    pub cgroup: cgroup::Options,
    /// Of `containers`.
    pub containers: containers::Options,
    /// Of `cpu`.
    pub cpu: cpu::Options,
    /// Of `diskstats`.
    pub diskstats: diskstats::Options,
    /// Of `ethtool`.
    pub ethtool: ethtool::Options,
    /// Of `filesystem`.
    pub filesystem: filesystem::Options,
    /// Of `hwmon`.
    pub hwmon: hwmon::Options,
    /// Of `infiniband`.
    pub infiniband: infiniband::Options,
    /// Of `interrupts`.
    pub interrupts: interrupts::Options,
    /// Of `ipvs`.
    pub ipvs: ipvs::Options,
    /// Of `netclass`.
    pub netclass: netclass::Options,
    /// Of `netdev`.
    pub netdev: netdev::Options,
    /// Of `netstat`.
    pub netstat: netstat::Options,
    /// Of `pcidevice`.
    pub pcidevice: pcidevice::Options,
    /// Of `powersupplyclass`.
    pub powersupply: powersupplyclass::Options,
    /// Of `process_groups`.
    pub process_groups: process_groups::Options,
    /// Of `qdisc`.
    pub qdisc: qdisc::Options,
    /// Of `rapl`.
    pub rapl: rapl::Options,
    /// Of `slabinfo`.
    pub slabinfo: slabinfo::Options,
    /// Of `stat`.
    pub stat: stat::Options,
    /// Of `sysctl`.
    pub sysctl: sysctl::Options,
    /// Of `systemd`.
    pub systemd: systemd::Options,
    /// Of `tapestats`.
    pub tapestats: tapestats::Options,
    /// Of `textfile`.
    pub textfile: textfile::Options,
    /// Of `vmstat`.
    pub vmstat: vmstat::Options,
    /// Of `wifi`.
    pub wifi: wifi::Options,
}

impl Options {
    /// Whether a collector of the list is to run.
    pub fn runs(&self, entry: &Entry) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == entry.name);
        !named(&self.disabled) && (named(&self.enabled) || (entry.on && !self.disable_defaults))
    }
}

/// A word of the kernel or of the user as a part of a metric's name: whatever may not stand there becomes `_`, and so
/// does each run of underscores around it.
fn metric_name(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether the underscores at the end of `out` stand for something else, so that those that follow are of the same run.
    let mut replaced = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            replaced = false;
            out.push(c);
        } else if c != '_' {
            out.truncate(out.trim_end_matches('_').len());
            out.push('_');
            replaced = true;
        } else if !replaced {
            out.push('_');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::metric_name;

    #[test]
    fn names_hold_letters_digits_and_underscores() {
        for (text, name) in [
            ("fs.file-nr", "fs_file_nr"),
            ("a__b", "a__b"),
            ("a_._b", "a_b"),
            ("a. .b", "a_b"),
            ("a_-", "a_"),
        ] {
            assert_eq!(metric_name(text), name);
        }
    }
}
