//! What the processes of a container share beyond its control group: the network that they see, and the files that they hold.
//!
//! Sources: `fs/proc/proc_net.c`, `fs/proc/generic.c`: each network name space has a `net/dev` with an inode of its own.

use crate::host::net::devices;
use crate::host::proc::{OpenFiles, parsed};
use crate::host::{Host, HostError, Tree, counted};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

/// More devices than this are not kept of one network.
const INTERFACES_MAX: usize = 64;
/// What cAdvisor does not show: the loopback, and the host's ends of the containers' own devices.
const IGNORED: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// A device of a network, and its counts: bytes, packets, errors, packets dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The name.
    pub name: String,
    /// What came in.
    pub received: [u64; 4],
    /// What went out.
    pub sent: [u64; 4],
}

/// Looks at the processes of containers.
#[derive(Debug)]
pub struct Processes {
    tree: Tree,
    open_files: OpenFiles,
    /// The networks that were met in this pass, the host's first.
    met: HashSet<u64>,
}

impl Processes {
    /// The processes of this host.
    pub fn new(host: &Host) -> Self {
        let (tree, open_files) = (Tree::new(&host.procfs), OpenFiles::detect(host));
        Self { tree, open_files, met: HashSet::new() }
    }

    /// Begins a pass; the devices of the host's network. `None` where that is not known, and no other can be told from it.
    pub fn begin(&mut self) -> Result<Option<Vec<Interface>>, HostError> {
        self.met.clear();
        self.network(1)
    }

    /// The devices of the network that a process sees; `None` if that was met before in this pass, or if the process is gone.
    pub fn network(&mut self, pid: u32) -> Result<Option<Vec<Interface>>, HostError> {
        let text = pid.to_string();
        if pid != 1 && self.met.is_empty() {
            return Ok(None);
        }
        let parts = [&text, "net", "dev"];
        let Ok(about) = counted::metadata(self.tree.path(&parts)) else { return Ok(None) };
        if !self.met.insert(about.ino()) {
            return Ok(None);
        }
        parsed(&mut self.tree, &parts, |text| {
            let mut all = Vec::new();
            for device in devices(text) {
                let device = device?;
                if all.len() < INTERFACES_MAX && !IGNORED.iter().any(|start| device.name.starts_with(start)) {
                    let [bytes, packets, errors, dropped, _, _, _, _, rest @ ..] = device.counts;
                    let received = [bytes, packets, errors, dropped];
                    let [bytes, packets, errors, dropped, ..] = rest;
                    let sent = [bytes, packets, errors, dropped];
                    all.push(Interface { name: device.name.to_owned(), received, sent });
                }
            }
            Ok(all)
        })
    }

    /// How many files the processes hold open together; `None` where that may not be known of one of them, or where none of
    /// them is there.
    pub fn open_files(&mut self, pids: &[u32]) -> Option<u64> {
        let (mut sum, mut there) = (0, pids.is_empty());
        for pid in pids {
            if let Some(count) = self.open_files.count(&mut self.tree, &pid.to_string()).ok()? {
                (sum, there) = (sum + count, true);
            }
        }
        there.then_some(sum)
    }
}
