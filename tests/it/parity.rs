//! The same series as node_exporter on its own recorded host, where the recording is at hand.

use std::path::Path;
use std::process::Command;

/// What the collectors that exist here write, as the script's prefixes. Left out are the families of
/// collectors that do not exist here; the counts of `node_network_*`, for the recording has no /proc/net/dev; and
/// `node_rapl_*`, whose label `path` says where the recording was made.
const FAMILIES: [&str; 66] = [
    "node_arp",
    "node_bcache_",
    "node_bonding",
    "node_boot",
    "node_btrfs",
    "node_context",
    "node_cooling_device",
    "node_cpu_bug",
    "node_cpu_core",
    "node_cpu_flag",
    "node_cpu_freq",
    "node_cpu_guest",
    "node_cpu_info",
    "node_cpu_isolated",
    "node_cpu_online",
    "node_cpu_package",
    "node_cpu_scaling",
    "node_cpu_seconds",
    "node_disk",
    "node_dmi",
    "node_dmmultipath",
    "node_edac",
    "node_entropy",
    "node_fibrechannel",
    "node_filefd",
    "node_forks",
    "node_hwmon",
    "node_infiniband",
    "node_intr",
    "node_ipvs",
    "node_kernel_hung",
    "node_load",
    "node_md_",
    "node_netstat",
    "node_network_address",
    "node_network_carrier",
    "node_network_device_id",
    "node_network_dormant",
    "node_network_flags",
    "node_network_iface",
    "node_network_info",
    "node_network_mtu",
    "node_network_name",
    "node_network_net_dev",
    "node_network_protocol",
    "node_network_speed",
    "node_network_transmit_queue",
    "node_network_up",
    "node_nf_conntrack",
    "node_nfs",
    "node_nvme",
    "node_os_",
    "node_power_supply",
    "node_pressure",
    "node_procs",
    "node_schedstat",
    "node_sockstat",
    "node_softnet",
    "node_tape",
    "node_thermal_zone",
    "node_udp",
    "node_vmstat",
    "node_watchdog",
    "node_xfs",
    "node_zfs",
    "testmetric",
];

/// What the recording's flags say about collectors, as configuration.
const OPTIONS: &str = r"
exporter:
  collectors:
    arp: {device_exclude: nope}
    bcache: {priority_stats: true}
    cpu:
      info: true
      info_bugs_include: ^(cpu_meltdown|spectre_.*|mds)$
      info_flags_include: ^(aes|avx.?|constant_tsc)$
    hwmon: {chip_include: (applesmc|asus_nb_wmi|coretemp|hwmon4|ieee80211|nct6779)}
";

#[test]
fn every_series_of_a_recorded_host_is_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/parity.py");
    if !script.exists() {
        eprintln!("skipped: {} is not there", script.display());
        return;
    }
    // The fields of meminfo begin with a capital; `node_memory_numa_*` is of another collector.
    let memory = ('A'..='Z').map(|first| format!("node_memory_{first}"));
    let families: Vec<String> = FAMILIES.map(String::from).into_iter().chain(memory).collect();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("headroom.yaml");
    std::fs::write(&config, OPTIONS).unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).args(["fixtures", "--require", "100", "--only", &families.join(",")]);
    let said =
        command.args(["--", env!("CARGO_BIN_EXE_headroom"), "exporter", "--config"]).arg(&config).output();
    let Ok(said) = said else {
        eprintln!("skipped: python3 is not installed");
        return;
    };
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{text}");
    assert!(text.contains("(100.0 %)"), "{text}");
}
