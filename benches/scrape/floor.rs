//! The least that the kernel's part of a page costs: one `pread` of each file that the exporter keeps open for it, and
//! nothing else.

use crate::server::{quantile, thread_nanos};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) struct Floor {
    files: Vec<(File, Vec<u8>)>,
    cpu_millis: Vec<f64>,
}

impl Floor {
    /// The files under /proc and /sys that the process `pid` has open, each once and with a buffer into which its text just fits:
    /// for some, the kernel clears as much memory as the reader has room.
    pub(crate) fn of(pid: u32) -> Self {
        let (mut files, mut paths) = (Vec::new(), BTreeSet::new());
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let Ok(path) = std::fs::read_link(entry.path()) else { continue };
            let path = path.to_string_lossy().replace(&format!("/proc/{pid}/"), "/proc/self/");
            let is_kernel_file = path.starts_with("/proc/") || path.starts_with("/sys/");
            let Ok(file) = File::open(&path) else { continue };
            if !is_kernel_file || !file.metadata().unwrap().is_file() || !paths.insert(path) {
                continue;
            }
            let mut text = vec![0; 1 << 20];
            // What has no value now (EINVAL) is asked in each pass all the same.
            let length = file.read_at(&mut text, 0).unwrap_or_default();
            files.push((file, vec![0; (length + 64).next_power_of_two().max(512)]));
        }
        Self { files, cpu_millis: Vec::new() }
    }

    pub(crate) fn round(&mut self, passes: u32) {
        let before = own_nanos();
        for _ in 0..passes {
            for (file, text) in &mut self.files {
                let _length = file.read_at(text, 0);
            }
        }
        self.cpu_millis.push((own_nanos() - before) as f64 / 1e6 / f64::from(passes));
    }

    /// The CPU time of a pass in milliseconds.
    pub(crate) fn cpu(&self) -> f64 {
        quantile(&self.cpu_millis, 0.5)
    }

    pub(crate) fn print(&self) {
        let name = format!("pread of {} kernel files, kept open", self.files.len());
        println!("{name:<44} {:>8.3}", self.cpu());
    }
}

fn own_nanos() -> u64 {
    thread_nanos(Path::new("/proc/thread-self")).unwrap()
}
