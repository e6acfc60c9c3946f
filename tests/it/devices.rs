//! The collectors of devices that few machines have, on small trees made for the test.

use crate::corrupt::{check_families, try_page};
use crate::machine::at;
use crate::page::{check_golden, collector, page};
use headroom::collect::{Options, bcache, hwmon};
use std::path::Path;
use tempfile::TempDir;

/// A collector and the files of its devices.
type Devices = (&'static str, &'static [(&'static str, &'static str)]);

const DEVICES: [Devices; 10] = [
    (
        "bcache",
        &[
            ("sys/fs/bcache/a-b/tree_depth", "1\n"),
            ("sys/fs/bcache/a-b/internal/btree_read_average_duration_us", "1305\n"),
            ("sys/fs/bcache/a-b/bdev0/stats_total/cache_hits", "546\n"),
            ("sys/fs/bcache/a-b/bdev0/stats_total/cache_readaheads", "0\n"),
            ("sys/fs/bcache/a-b/bdev0/writeback_rate_debug", "rate:\t\t1.1M/sec\nchange:\t\t-1k/sec\n"),
            ("sys/fs/bcache/a-b/cache0/written", "2.0k\n"),
            ("sys/fs/bcache/a-b/cache0/priority_stats", "Unused:\t\t99%\n"),
            ("sys/fs/bcache/register", ""),
        ],
    ),
    (
        "bonding",
        &[
            ("sys/class/net/bonding_masters", "bond0 gone\n"),
            ("sys/class/net/bond0/bonding/slaves", "eth0 eth1 left\n"),
            ("sys/class/net/bond0/lower_eth0/bonding_slave/mii_status", "up\n"),
            ("sys/class/net/bond0/slave_eth1/bonding_slave/mii_status", "down\n"),
        ],
    ),
    (
        "btrfs",
        &[
            ("sys/fs/btrfs/features/raid56", "0\n"),
            ("sys/fs/btrfs/a-b/label", "home\n"),
            ("sys/fs/btrfs/a-b/commit_stats", "commits 2\nlast_commit_ms 1500\n"),
            ("sys/fs/btrfs/a-b/allocation/data/raid5/total_bytes", "4096\n"),
            ("sys/fs/btrfs/a-b/devices/sda/size", "8\n"),
            ("sys/fs/btrfs/a-b/devices/sdb/size", "8\n"),
        ],
    ),
    (
        "cpufreq",
        &[
            ("sys/devices/system/cpu/offline", "1\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "800000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_cur_freq", "<unknown>\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors", "performance powersave \n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "800000\n"),
        ],
    ),
    ("dmi", &[("sys/class/dmi/id/sys_vendor", "Dell \"Inc.\"\n"), ("sys/class/dmi/id/bios_date", "\n")]),
    (
        "dmmultipath",
        &[
            ("sys/block/dm-0/dm/uuid", "LVM-x\n"),
            ("sys/block/dm-1/dm/uuid", "mpath-x\n"),
            ("sys/block/dm-1/dm/name", "mpatha\n"),
            ("sys/block/dm-1/dm/suspended", "0\n"),
            ("sys/block/dm-1/size", "8\n"),
            ("sys/block/dm-1/slaves/sda", ""),
            ("sys/block/dm-1/slaves/sdb", ""),
            ("sys/block/sda/device/state", "running\n"),
            ("sys/block/sdb/device/state", "offline\n"),
        ],
    ),
    (
        "edac",
        &[
            ("sys/devices/system/edac/mc/mc0/ce_count", "1\n"),
            ("sys/devices/system/edac/mc/mc0/ue_noinfo_count", "6\n"),
            ("sys/devices/system/edac/mc/mc0/csrow0/ch1_ce_count", "2\n"),
            ("sys/devices/system/edac/mc/mc0/csrow0/ch1_dimm_label", "mc#0csrow#0channel#1\n"),
            ("sys/devices/system/edac/mc/power/control", "auto\n"),
        ],
    ),
    (
        "fibrechannel",
        &[
            ("sys/class/fc_host/host0/port_state", "Online\n"),
            ("sys/class/fc_host/host0/port_id", "0x000002\n"),
            ("sys/class/fc_host/host0/statistics/rx_frames", "0x3\n"),
            ("sys/class/fc_host/host0/statistics/tx_frames", "0xffffffffffffffff\n"),
        ],
    ),
    (
        "hwmon",
        &[
            ("sys/class/hwmon/hwmon0/name", "nct6779\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "55000\n"),
            ("sys/class/hwmon/hwmon0/temp1_label", "CPU\n"),
            ("sys/class/hwmon/hwmon0/temp2_input", "N/A\n"),
            ("sys/class/hwmon/hwmon0/fan3_input", "700\n"),
            ("sys/class/hwmon/hwmon0/freq1_input", "300000000\n"),
            ("sys/class/hwmon/hwmon0/freq1_label", "sclk\n"),
            ("sys/class/hwmon/hwmon1/name", "hidden\n"),
        ],
    ),
    (
        "infiniband",
        &[
            ("sys/class/infiniband/mlx5_0/fw_ver", "16.2\n"),
            ("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n"),
            ("sys/class/infiniband/mlx5_0/ports/1/rate", "100 Gb/sec (4X EDR)\n"),
            ("sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data", "5\n"),
            ("sys/class/infiniband/mlx5_0/ports/1/counters/link_downed", "N/A (no PMA)\n"),
            ("sys/class/infiniband/mlx5_0/ports/1/hw_counters/lifespan", "2000\n"),
        ],
    ),
];

#[test]
fn devices_are_shown_as_node_exporter_shows_them() {
    let options = Options {
        bcache: bcache::Options { priority_stats: true },
        hwmon: hwmon::Options {
            chip_exclude: "^hidden$".into(),
            sensor_exclude: ";fan3$".into(),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut all = String::new();
    for (name, files) in DEVICES {
        let dir = tree(files);
        let host = at(dir.path());
        let mut collector = collector(name, &host, &options);
        let first = page(&mut *collector, &host);
        check_families(&first);
        assert_eq!(page(&mut *collector, &host), first, "{name}: the second pass");
        // All of them are taken away: what is left says nothing, or that there is nothing.
        std::fs::remove_dir_all(dir.path().join("sys")).unwrap();
        if name != "dmi" {
            let mut out = headroom::encode::text::TextEncoder::default();
            _ = collector.collect(&host, &mut out);
            assert!(out.page().is_empty(), "{name}");
        }
        all.push_str(&first);
    }
    check_golden("devices", &all);
}

#[test]
fn a_device_whose_files_are_cut_or_damaged_costs_no_more_than_itself() {
    for (name, files) in DEVICES {
        let dir = tree(files);
        let host = at(dir.path());
        for (file, text) in files {
            let path = dir.path().join(file);
            for cut in 0..text.len() {
                for damaged in
                    [text.as_bytes()[..cut].to_vec(), [&text.as_bytes()[..cut], b"\xff\n:"].concat()]
                {
                    std::fs::write(&path, damaged).unwrap();
                    if let Some(page) = try_page(name, &host) {
                        check_families(&page);
                    }
                }
            }
            std::fs::remove_file(&path).unwrap();
            _ = try_page(name, &host);
            std::fs::create_dir(&path).unwrap();
            _ = try_page(name, &host);
            std::fs::remove_dir(&path).unwrap();
            std::fs::write(&path, text).unwrap();
        }
    }
}

#[test]
fn a_chip_that_is_exchanged_is_followed() {
    let (_, files) = DEVICES[8];
    let dir = tree(files);
    let host = at(dir.path());
    let mut collector = collector("hwmon", &host, &Options::default());
    assert!(page(&mut *collector, &host).contains("chip=\"hidden\""));
    std::fs::rename(dir.path().join("sys/class/hwmon/hwmon1"), dir.path().join("sys/class/hwmon/hwmon2"))
        .unwrap();
    put(dir.path(), "sys/class/hwmon/hwmon2/name", "seen\n");
    let page = page(&mut *collector, &host);
    assert!(page.contains("chip=\"seen\"") && !page.contains("chip=\"hidden\""), "{page}");
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        put(dir.path(), file, text);
    }
    dir
}

fn put(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
