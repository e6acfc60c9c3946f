//! A file system whose server never answers, really mounted: it is told of, and costs nobody else anything.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, metric};
use std::process::Command;
use std::time::{Duration, Instant};

/// Mounts a file system of which this shell is the server, in name spaces of its own, and runs the rest of its arguments
/// while nobody answers the kernel: so hangs NFS when its server is gone.
const DEAD: &str = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 dead \"$0\" && \
                    exec \"$@\"";

fn beside_a_dead_mount(at: &std::path::Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", DEAD]).arg(at);
    command
}

#[test]
fn a_dead_mount_is_told_of_and_costs_one_thread_and_one_slow_page() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("far");
    std::fs::create_dir(&at).unwrap();
    let may = beside_a_dead_mount(&at).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: nobody may mount here, or there is no /dev/fuse");
        return;
    }
    let address = free_address();
    let mut command = beside_a_dead_mount(&at);
    command.args([HEADROOM, "exporter", "--web.listen-address", &address.to_string()]);
    command.args(["--collector.disable-defaults", "--collector.filesystem", "--collector.processes"]);
    command.arg("--collector.filesystem.mount-timeout=2s");
    let _exporter = Running::start(&mut command, &dir.path().join("log"));
    eventually("the exporter answers", 20, || get(&format!("http://{address}/-/healthy")));
    let (mut threads, mut fast) = (Vec::new(), 0);
    for _ in 0..5 {
        let begun = Instant::now();
        let (status, page) = get(&format!("http://{address}/metrics")).unwrap();
        fast += u32::from(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(status, 200);
        let labels =
            format!("device_error=\"mountpoint timeout\",fstype=\"fuse\",mountpoint=\"{}\"", at.display());
        let dead: Vec<&str> = page.lines().filter(|line| line.contains("device=\"dead\"")).collect();
        let told = ["device_error{", "readonly{"]
            .map(|name| format!("node_filesystem_{name}device=\"dead\",{labels}}}"));
        assert_eq!(dead, [format!("{} 1", told[0]), format!("{} 0", told[1])], "and no numbers");
        assert!(page.contains("\nnode_filesystem_size_bytes{"), "the others are shown: {page}");
        assert!(page.contains("node_scrape_collector_success{collector=\"filesystem\"} 1\n"), "{page}");
        // There are no other processes in this name space.
        threads.push(metric(&page, "node_processes_threads"));
    }
    assert!(fast >= 4, "only the first page waits for it");
    assert!(threads.iter().all(|count| *count == threads[0]), "{threads:?}");
}
