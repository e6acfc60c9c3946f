//! The same series as node_exporter on its own recorded host, where the recording is at hand.

use std::path::Path;
use std::process::Command;

/// What the collectors that exist here write, as the script's prefixes. Left out are the families of
/// collectors that do not exist here; the counts of `node_network_*`, for the recording has no /proc/net/dev; and
/// `node_rapl_*`, whose label `path` says where the recording was made.
const FAMILIES: [&str; 49] = [
    "node_cpu_seconds",
    "node_cpu_guest",
    "node_cpu_core",
    "node_cpu_package",
    "node_cpu_isolated",
    "node_cpu_online",
    "node_vmstat",
    "node_load",
    "node_boot",
    "node_context",
    "node_forks",
    "node_intr",
    "node_procs",
    "node_disk",
    "node_pressure",
    "node_filefd",
    "node_os_",
    "testmetric",
    "node_ipvs",
    "node_kernel_hung",
    "node_md_",
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
    "node_netstat",
    "node_nfs",
    "node_nvme",
    "node_power_supply",
    "node_schedstat",
    "node_sockstat",
    "node_softnet",
    "node_tape",
    "node_thermal_zone",
    "node_cooling_device",
    "node_udp",
    "node_watchdog",
    "node_xfs",
    "node_zfs",
];

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
    let mut command = Command::new("python3");
    command.arg(&script).args(["fixtures", "--require", "100", "--only", &families.join(",")]);
    let said = command.args(["--", env!("CARGO_BIN_EXE_headroom"), "exporter"]).output();
    let Ok(said) = said else {
        eprintln!("skipped: python3 is not installed");
        return;
    };
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{text}");
    assert!(text.contains("(100.0 %)"), "{text}");
}
