//! node_exporter's options of collectors: each flag, and the key of the configuration that it stands over.

use crate::collect::{Options, REGISTRY};
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// One of node_exporter's flags `--collector.NAME.OPTION`.
#[derive(Debug)]
pub(super) struct Flag {
    /// `NAME.OPTION`, as node_exporter has it.
    pub name: &'static str,
    /// The key below `exporter.collectors`, where it is not the flag's name with underscores.
    key: Option<&'static str>,
    /// What it sets.
    pub set: Set,
    /// node_exporter's own name of today, if this one is out of use.
    pub today: Option<&'static str>,
}

/// What a flag sets, and of which type its value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    /// A switch, turned off by `--no-`.
    Switch(fn(&mut Options) -> &mut bool),
    /// A text or a regular expression.
    Text(fn(&mut Options) -> &mut String),
    /// One of several texts: the flag may be repeated.
    List(fn(&mut Options) -> &mut Vec<String>),
    /// A duration in the words of node_exporter's language.
    Time(fn(&mut Options) -> &mut Duration),
    /// A whole number that means nothing here.
    Nothing,
}

/// What a flag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Of a switch.
    Switch(bool),
    /// Of a text or a list.
    Text(String),
    /// Of a duration.
    Time(Duration),
    /// Of what means nothing here.
    Nothing,
}

impl Flag {
    /// The key below `exporter.collectors`; `None` if the flag means nothing here.
    pub(super) fn key(&self) -> Option<String> {
        let own = || self.key.map_or_else(|| self.name.replace('-', "_"), str::to_owned);
        (!matches!(self.set, Set::Nothing)).then(own)
    }

    /// Whether it is turned off by `--no-` and takes no value.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.set, Set::Switch(_))
    }

    /// The flag's value, understood; the error says what it should be.
    pub(super) fn understand(&self, value: &str) -> Result<Said, &'static str> {
        match self.set {
            Set::Switch(_) => match value {
                "true" => Ok(Said::Switch(true)),
                "false" => Ok(Said::Switch(false)),
                _ => Err("true or false"),
            },
            Set::Text(_) | Set::List(_) => Ok(Said::Text(value.to_owned())),
            Set::Time(_) => duration(value).map(Said::Time).ok_or("a duration such as 5s or 1m30s"),
            Set::Nothing => value.parse::<u32>().map(|_| Said::Nothing).map_err(|_| "a whole number"),
        }
    }

    /// Puts what was said over the options.
    pub(super) fn apply(&self, said: &Said, options: &mut Options) {
        match (self.set, said) {
            (Set::Switch(at), Said::Switch(on)) => *at(options) = *on,
            (Set::Text(at), Said::Text(text)) => at(options).clone_from(text),
            (Set::List(at), Said::Text(text)) => at(options).push(text.clone()),
            (Set::Time(at), Said::Time(time)) => *at(options) = *time,
            _ => {}
        }
    }

    /// Empties a list that the flag is to fill.
    pub(super) fn clear(&self, options: &mut Options) {
        if let Set::List(at) = self.set {
            at(options).clear();
        }
    }

    const fn key_is(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    const fn once(mut self, today: &'static str) -> Self {
        self.today = Some(today);
        self
    }
}

const fn flag(name: &'static str, set: Set) -> Flag {
    Flag { name, key: None, set, today: None }
}

const fn switch(name: &'static str, at: fn(&mut Options) -> &mut bool) -> Flag {
    flag(name, Set::Switch(at))
}

const fn text(name: &'static str, at: fn(&mut Options) -> &mut String) -> Flag {
    flag(name, Set::Text(at))
}

const fn list(name: &'static str, at: fn(&mut Options) -> &mut Vec<String>) -> Flag {
    flag(name, Set::List(at))
}

const fn time(name: &'static str, at: fn(&mut Options) -> &mut Duration) -> Flag {
    flag(name, Set::Time(at))
}

/// All of node_exporter 1.12's options of collectors that there are here, by name.
pub(super) const FLAGS: &[Flag] = &[
    text("arp.device-exclude", |o| &mut o.arp.device_exclude),
    text("arp.device-include", |o| &mut o.arp.device_include),
    switch("arp.netlink", |o| &mut o.arp.netlink),
    switch("bcache.priorityStats", |o| &mut o.bcache.priority_stats).key_is("bcache.priority_stats"),
    switch("cpu.guest", |o| &mut o.cpu.guest),
    switch("cpu.info", |o| &mut o.cpu.info),
    text("cpu.info.bugs-include", |o| &mut o.cpu.info_bugs_include).key_is("cpu.info_bugs_include"),
    text("cpu.info.flags-include", |o| &mut o.cpu.info_flags_include).key_is("cpu.info_flags_include"),
    text("diskstats.device-exclude", |o| &mut o.diskstats.devices_exclude)
        .key_is("diskstats.devices_exclude"),
    text("diskstats.device-include", |o| &mut o.diskstats.devices_include)
        .key_is("diskstats.devices_include"),
    text("diskstats.ignored-devices", |o| &mut o.diskstats.devices_exclude)
        .key_is("diskstats.devices_exclude")
        .once("diskstats.device-exclude"),
    text("ethtool.device-exclude", |o| &mut o.ethtool.device_exclude),
    text("ethtool.device-include", |o| &mut o.ethtool.device_include),
    text("ethtool.metrics-include", |o| &mut o.ethtool.metrics_include),
    text("filesystem.fs-types-exclude", |o| &mut o.filesystem.fs_types_exclude),
    text("filesystem.fs-types-include", |o| &mut o.filesystem.fs_types_include),
    text("filesystem.ignored-fs-types", |o| &mut o.filesystem.fs_types_exclude)
        .key_is("filesystem.fs_types_exclude")
        .once("filesystem.fs-types-exclude"),
    text("filesystem.ignored-mount-points", |o| &mut o.filesystem.mount_points_exclude)
        .key_is("filesystem.mount_points_exclude")
        .once("filesystem.mount-points-exclude"),
    text("filesystem.mount-points-exclude", |o| &mut o.filesystem.mount_points_exclude),
    text("filesystem.mount-points-include", |o| &mut o.filesystem.mount_points_include),
    time("filesystem.mount-timeout", |o| &mut o.filesystem.mount_timeout),
    // One thread asks all mounts in turn, and another one takes its place when a mount hangs.
    flag("filesystem.stat-workers", Set::Nothing),
    text("hwmon.chip-exclude", |o| &mut o.hwmon.chip_exclude),
    text("hwmon.chip-include", |o| &mut o.hwmon.chip_include),
    text("hwmon.sensor-exclude", |o| &mut o.hwmon.sensor_exclude),
    text("hwmon.sensor-include", |o| &mut o.hwmon.sensor_include),
    text("infiniband.device-exclude", |o| &mut o.infiniband.device_exclude),
    text("infiniband.device-include", |o| &mut o.infiniband.device_include),
    switch("interrupts.include-zeros", |o| &mut o.interrupts.include_zeros),
    text("interrupts.name-exclude", |o| &mut o.interrupts.name_exclude),
    text("interrupts.name-include", |o| &mut o.interrupts.name_include),
    text("ipvs.backend-labels", |o| &mut o.ipvs.backend_labels),
    switch("netclass.ignore-invalid-speed", |o| &mut o.netclass.ignore_invalid_speed),
    text("netclass.ignored-devices", |o| &mut o.netclass.ignored_devices),
    switch("netclass.netlink", |o| &mut o.netclass.netlink),
    switch("netclass_rtnl.with-stats", |o| &mut o.netclass.netlink_with_stats)
        .key_is("netclass.netlink_with_stats"),
    switch("netdev.address-info", |o| &mut o.netdev.address_info),
    text("netdev.device-blacklist", |o| &mut o.netdev.device_exclude)
        .key_is("netdev.device_exclude")
        .once("netdev.device-exclude"),
    text("netdev.device-exclude", |o| &mut o.netdev.device_exclude),
    text("netdev.device-include", |o| &mut o.netdev.device_include),
    text("netdev.device-whitelist", |o| &mut o.netdev.device_include)
        .key_is("netdev.device_include")
        .once("netdev.device-include"),
    switch("netdev.enable-detailed-metrics", |o| &mut o.netdev.enable_detailed_metrics),
    switch("netdev.label-ifalias", |o| &mut o.netdev.label_ifalias),
    switch("netdev.netlink", |o| &mut o.netdev.netlink),
    text("netstat.fields", |o| &mut o.netstat.fields),
    text("pcidevice.idsfile", |o| &mut o.pcidevice.idsfile),
    switch("pcidevice.names", |o| &mut o.pcidevice.names),
    text("powersupply.ignored-supplies", |o| &mut o.powersupply.ignored_supplies),
    text("qdisc.device-exclude", |o| &mut o.qdisc.device_exclude),
    text("qdisc.device-include", |o| &mut o.qdisc.device_include),
    text("qdisc.fixtures", |o| &mut o.qdisc.fixtures),
    text("qdisk.device-exclude", |o| &mut o.qdisc.device_exclude)
        .key_is("qdisc.device_exclude")
        .once("qdisc.device-exclude"),
    text("qdisk.device-include", |o| &mut o.qdisc.device_include)
        .key_is("qdisc.device_include")
        .once("qdisc.device-include"),
    switch("rapl.enable-zone-label", |o| &mut o.rapl.enable_zone_label),
    text("slabinfo.slabs-exclude", |o| &mut o.slabinfo.slabs_exclude),
    text("slabinfo.slabs-include", |o| &mut o.slabinfo.slabs_include),
    switch("stat.softirq", |o| &mut o.stat.softirq),
    list("sysctl.include", |o| &mut o.sysctl.include),
    list("sysctl.include-info", |o| &mut o.sysctl.include_info),
    switch("systemd.enable-restarts-metrics", |o| &mut o.systemd.enable_restarts_metrics),
    switch("systemd.enable-start-time-metrics", |o| &mut o.systemd.enable_start_time_metrics),
    switch("systemd.enable-task-metrics", |o| &mut o.systemd.enable_task_metrics),
    switch("systemd.private", |o| &mut o.systemd.private),
    text("systemd.unit-blacklist", |o| &mut o.systemd.unit_exclude)
        .key_is("systemd.unit_exclude")
        .once("systemd.unit-exclude"),
    text("systemd.unit-exclude", |o| &mut o.systemd.unit_exclude),
    text("systemd.unit-include", |o| &mut o.systemd.unit_include),
    text("systemd.unit-whitelist", |o| &mut o.systemd.unit_include)
        .key_is("systemd.unit_include")
        .once("systemd.unit-include"),
    text("tapestats.ignored-devices", |o| &mut o.tapestats.ignored_devices),
    list("textfile.directory", |o| &mut o.textfile.directories).key_is("textfile.directories"),
    text("vmstat.fields", |o| &mut o.vmstat.fields),
    text("wifi.fixtures", |o| &mut o.wifi.fixtures),
];

/// node_exporter's other flags, without their dashes, and whether each wants a value: they have no effect here.
pub(super) const WITHOUT_EFFECT: &[(&str, bool)] = &[
    ("collector.ntp.ip-ttl", true),
    ("collector.ntp.local-offset-tolerance", true),
    ("collector.ntp.max-distance", true),
    ("collector.ntp.protocol-version", true),
    ("collector.ntp.server", true),
    ("collector.ntp.server-is-local", false),
    ("collector.ntp.server-port", true),
    ("collector.perf.cache-profilers", true),
    ("collector.perf.cpus", true),
    ("collector.perf.disable-cache-profilers", false),
    ("collector.perf.disable-hardware-profilers", false),
    ("collector.perf.disable-software-profilers", false),
    ("collector.perf.hardware-profilers", true),
    ("collector.perf.software-profilers", true),
    ("collector.perf.tracepoint", true),
    ("collector.runit.servicedir", true),
    ("collector.supervisord.url", true),
    ("runtime.gomaxprocs", true),
];

/// node_exporter's collectors of all systems; those that are not in the registry have no effect here.
pub(super) const COLLECTORS: &[&str] = &[
    "boottime",
    "devstat",
    "drm",
    "exec",
    "logind",
    "netinterface",
    "netisr",
    "ntp",
    "nvmesubsystem",
    "partition",
    "perf",
    "runit",
    "supervisord",
    "swap",
    "thermal",
];

/// The command line with these flags in it: for a shell that completes them. (For reading, they stay outside: clap would
/// have to be told anew what `--no-` and a later version's flags mean.)
pub(super) fn completed(command: Command) -> Command {
    let flag = |name: String, wants: bool| {
        // The command is made once and lives as long as the process.
        let name: &'static str = name.leak();
        Arg::new(name).long(name).action(if wants { ArgAction::Append } else { ArgAction::SetTrue })
    };
    let switch = |name: &str| ["", "no-"].map(|no| flag(format!("{no}collector.{name}"), false));
    let collectors = REGISTRY.iter().map(|entry| entry.name).flat_map(switch);
    let options = FLAGS.iter().filter(|flag| flag.today.is_none());
    let (switches, values): (Vec<_>, Vec<_>) = options.partition(|flag| flag.is_switch());
    let switches = switches.into_iter().flat_map(|flag| switch(flag.name));
    let values = values.into_iter().map(|option| flag(format!("collector.{}", option.name), true));
    let all = collectors
        .chain(switches)
        .chain(values)
        .chain([flag("collector.disable-defaults".to_owned(), false)]);
    let all: Vec<Arg> = all.collect();
    command.mut_subcommand("exporter", |exporter| exporter.args(all))
}

/// A duration as Go writes it: `1m30s`, `1.5h`, `250ms`; `None` if it is none, or less than nothing.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text.strip_prefix('+').unwrap_or(text), 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let (unit, next) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len()));
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

/// The section of `headroom exporter --help` about these flags.
pub(super) fn help() -> String {
    let mut out = "Flags of node_exporter:\n  \
        --collector.NAME, --no-collector.NAME, --collector.disable-defaults, and --collector.NAME.OPTION over \
        exporter.collectors.NAME.OPTION (switches also as --no-collector.NAME.OPTION):\n"
        .to_owned();
    let names: BTreeSet<&str> = FLAGS.iter().filter_map(|flag| Some(flag.name.split_once('.')?.0)).collect();
    for name in names {
        let of = |flag: &&Flag| flag.today.is_none() && flag.name.split('.').next() == Some(name);
        let option = |flag: &Flag| flag.name.get(name.len() + 1..).unwrap_or_default().to_owned();
        let options: Vec<String> = FLAGS.iter().filter(of).map(option).collect();
        if !options.is_empty() {
            let _fits = writeln!(out, "    {name}: {}", options.join(", "));
        }
    }
    out + "  Its other flags are named in a warning and have no effect."
}

/// The table in docs/node-exporter-flags.md.
#[cfg(test)]
fn table() -> String {
    let mut out = "| flag of node_exporter | key below `exporter.collectors` |\n|---|---|\n".to_owned();
    for flag in FLAGS {
        let name = flag.name;
        let typed = match flag.set {
            Set::Switch(_) => format!("`--collector.{name}`, `--no-collector.{name}`"),
            Set::Text(_) => format!("`--collector.{name}=TEXT`"),
            Set::List(_) => format!("`--collector.{name}=TEXT`, repeatable"),
            Set::Time(_) => format!("`--collector.{name}=DURATION`"),
            Set::Nothing => format!("`--collector.{name}=NUMBER`"),
        };
        let key =
            flag.key().map_or_else(|| "accepted; it means nothing here".to_owned(), |key| format!("`{key}`"));
        let today =
            flag.today.map_or_else(String::new, |today| format!(" (old name of `--collector.{today}`)"));
        writeln!(out, "| {typed}{today} | {key} |").unwrap();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn each_flag_sets_what_its_key_sets() {
        for flag in FLAGS {
            let Some((collector, option)) = flag.key().and_then(|key| {
                let (collector, option) = key.split_once('.')?;
                Some((collector.to_owned(), option.to_owned()))
            }) else {
                continue;
            };
            let (said, yaml) = match flag.set {
                Set::Switch(at) => {
                    let other = !*at(&mut Options::default());
                    (other.to_string(), other.to_string())
                }
                Set::Text(_) => ("^x".into(), "^x".into()),
                Set::List(_) => ("^x".into(), "[^x]".into()),
                Set::Time(_) => ("1m5s".into(), "65s".into()),
                Set::Nothing => continue,
            };
            let text = format!("exporter: {{collectors: {{{collector}: {{{option}: {yaml}}}}}}}");
            let by_key = Config::parse(&text, Path::new("f")).unwrap().exporter.collectors;
            let mut by_flag = Options::default();
            flag.apply(&flag.understand(&said).unwrap(), &mut by_flag);
            assert_eq!(by_flag, by_key, "{}", flag.name);
            assert_ne!(by_flag, Options::default(), "{}", flag.name);
        }
    }

    #[test]
    fn each_name_stands_once_and_in_order_and_old_names_have_a_new_one() {
        assert!(FLAGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for flag in FLAGS {
            let today = flag.today.map(|today| FLAGS.iter().find(|flag| flag.name == today).unwrap());
            assert!(today.is_none_or(|today| today.key() == flag.key() && today.today.is_none()));
        }
    }

    #[test]
    fn shells_complete_them() {
        let mut command = completed(<crate::cli::Cli as clap::CommandFactory>::command());
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut command, "headroom", &mut script);
        let script = String::from_utf8(script).unwrap();
        for flag in [
            "--no-collector.arp",
            "--no-collector.arp.netlink",
            "--collector.netdev.device-include",
            "--web.listen-address",
        ] {
            assert!(script.split_whitespace().any(|word| word == flag), "{flag}");
        }
        assert!(!script.contains("--no-collector.netdev.device-include"));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in
            [("5s", 5000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("250ms", 250), ("0", 0), ("+2s", 2000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "5d", "1.5.5s", "9999999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_manual_and_the_help_name_every_flag() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/node-exporter-flags.md");
        let manual = std::fs::read_to_string(&path).unwrap();
        let (head, _) = manual.split_once("| flag of node_exporter").unwrap();
        let want = format!("{head}{}", table());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &want).unwrap();
        } else {
            assert_eq!(manual, want, "UPDATE=1 cargo test writes it anew");
        }
        let help = help();
        for flag in FLAGS.iter().filter(|flag| flag.today.is_none()) {
            let (name, option) = flag.name.split_once('.').unwrap();
            let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{name}: ")));
            assert!(line.is_some_and(|line| line.contains(option)), "{}", flag.name);
        }
    }
}
