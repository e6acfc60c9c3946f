//! Memory of control groups: where the hierarchies are (v1, v2 or both), which groups there are, what each uses.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

pub mod control;
pub(crate) mod files;
pub mod subsystem;
mod walk;

use super::counted;
use super::memory::{Pressure, pressure};
use super::proc::parsed;
use super::tree::Tree;
use super::{Host, HostError, read_once};
use std::io;
use std::path::{Path, PathBuf};

/// Which interface a hierarchy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `memory.usage_in_bytes` and its kin.
    V1,
    /// `memory.current` and its kin.
    V2,
}

/// Where this host's control groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The hierarchy that has the memory controller.
    pub memory: Option<(Version, PathBuf)>,
    /// The v2 hierarchy; its `memory.pressure` works even where v1 has the controller.
    pub unified: Option<PathBuf>,
}

/// What a control group and all groups below it use; what the kernel does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// All memory charged to the group. The root of a v2 hierarchy has none.
    pub current_bytes: Option<u64>,
    /// The group's own hard limit; absent where it has none. One further up may be lower.
    pub limit_bytes: Option<u64>,
    /// From here on tasks of the group are held back and must reclaim; absent where that is nowhere. v2 only.
    pub high_bytes: Option<u64>,
    /// The lowest limit of the group and of all above it, those included that cannot be seen from here; v1 only.
    pub hierarchical_limit_bytes: Option<u64>,
    /// Anonymous memory (v1: `rss`, swap cache included).
    pub anon_bytes: Option<u64>,
    /// Page cache, tmpfs and shared memory included.
    pub file_bytes: Option<u64>,
    /// Page cache that was not used for long; what the kernel takes first.
    pub inactive_file_bytes: Option<u64>,
    /// Memory that was swapped out.
    pub swap_bytes: Option<u64>,
    /// What the kernel can take at once and without swap: the file lists (active and inactive; so
    /// neither tmpfs nor locked pages), less what is dirty or being written, and on v2 the slab
    /// that can be reclaimed. v1 does not account for slab, so there it is a lower bound.
    pub reclaimable_bytes: Option<u64>,
    /// Memory that is taken only if nothing unprotected is left; `u64::MAX` for `max`. v2 only.
    pub low_bytes: Option<u64>,
    /// Memory that is never taken; `u64::MAX` for `max`. v2 only.
    pub min_bytes: Option<u64>,
    /// How often what happened: `memory.events`; on v1 `max` (`memory.failcnt`, of the group
    /// alone) and `oom_kill`.
    pub events: Vec<(String, u64)>,
    /// How long tasks waited for memory.
    pub pressure: Option<Pressure>,
    /// Anonymous pages that were taken and soon needed again.
    pub refault_anon: Option<u64>,
    /// Pages of files that were taken and soon needed again.
    pub refault_file: Option<u64>,
    /// Of the anonymous pages that were needed again, those that the kernel would not have taken had the list been a little
    /// longer: they belong to the working set. v2 only, as all that follow.
    pub activate_anon: Option<u64>,
    /// The same of pages of files.
    pub activate_file: Option<u64>,
    /// Pages that reclaim looked at.
    pub scanned_pages: Option<u64>,
    /// Pages that reclaim took.
    pub reclaimed_pages: Option<u64>,
}

impl GroupMemory {
    /// Where the group's own use ends: its hard limit, or where it is held back before; and of v1 the limit of a group above
    /// it, should that be lower.
    pub fn bound_bytes(&self) -> Option<u64> {
        [self.limit_bytes, self.high_bytes, self.hierarchical_limit_bytes].into_iter().flatten().min()
    }

    /// What the group uses and the kernel cannot take at once.
    pub fn needed_bytes(&self) -> Option<u64> {
        Some(self.current_bytes?.saturating_sub(self.reclaimable_bytes.unwrap_or(0)))
    }
}

impl Hierarchies {
    /// Looks where the hierarchies are mounted: v2 at /sys/fs/cgroup; or v1's memory at
    /// /sys/fs/cgroup/memory, with v2 at /sys/fs/cgroup/unified if the machine is hybrid.
    pub fn detect(host: &Host) -> Result<Self, HostError> {
        let root = host.sysfs.join("fs/cgroup");
        if let Some(controllers) = read_once(&root.join("cgroup.controllers"))? {
            let memory = has_memory(&controllers).then(|| (Version::V2, root.clone()));
            return Ok(Self { memory, unified: Some(root) });
        }
        let (v1, v2) = (root.join("memory"), root.join("unified"));
        let controllers = read_once(&v2.join("cgroup.controllers"))?;
        let memory = if counted::exists(&v1.join("memory.stat")) {
            Some((Version::V1, v1))
        } else {
            controllers.as_deref().is_some_and(has_memory).then(|| (Version::V2, v2.clone()))
        };
        Ok(Self { memory, unified: controllers.map(|_| v2) })
    }

    /// Whether there is nothing to read at all.
    pub fn is_empty(&self) -> bool {
        self.memory.is_none() && self.unified.is_none()
    }

    /// The paths of the groups of all hierarchies, `/` first, then level by level in the order of
    /// their names, and how many more there are than `count_max`. Groups deeper than `depth_max`
    /// (the root's depth is 0) are not looked for.
    pub fn groups(&self, depth_max: usize, count_max: usize) -> Result<(Vec<String>, usize), HostError> {
        walk::groups(&self.roots(), depth_max, count_max)
    }

    /// The processes of a group and of those below it, sorted; none where the group is not there.
    pub fn processes(&self, group: &str) -> Result<Vec<u32>, HostError> {
        let root = self.memory.as_ref().map(|(_, root)| root).or(self.unified.as_ref());
        let Some(root) = root else { return Ok(Vec::new()) };
        control::processes(&root.join(group.trim_start_matches('/')))
    }

    /// What the group at `group` (`/system.slice/x.service`) uses; `None` where there is no such group.
    pub fn read(&self, group: &str) -> Result<Option<GroupMemory>, HostError> {
        Reader::new(self).read(group)
    }

    /// A group's `memory.high`; absent where it has none, and on version 1.
    pub fn high(&self, group: &str) -> Result<Option<u64>, HostError> {
        let Some((Version::V2, root)) = &self.memory else { return Ok(None) };
        let path = root.join(group.trim_start_matches('/')).join("memory.high");
        let text = read_once(&path)?;
        let high = text.map(|t| files::limit(&t)).transpose().map_err(|e| HostError::parse(&path, e))?;
        Ok(high.flatten())
    }

    /// The mount points, each once.
    fn roots(&self) -> Vec<&Path> {
        let memory = self.memory.as_ref().map(|(_, root)| root.as_path());
        let unified = self.unified.as_deref().filter(|root| Some(*root) != memory);
        memory.into_iter().chain(unified).collect()
    }
}

/// Reads many groups, one after the other, through the same buffers.
#[derive(Debug)]
pub struct Reader {
    memory: Option<(Version, Tree)>,
    unified: Option<Tree>,
}

impl Reader {
    /// A reader of the groups of these hierarchies.
    pub fn new(hierarchies: &Hierarchies) -> Self {
        Self {
            memory: hierarchies.memory.as_ref().map(|(version, root)| (*version, Tree::new(root))),
            unified: hierarchies.unified.as_deref().map(Tree::new),
        }
    }

    /// What the group uses; `None` where there is no such group, or no more.
    pub fn read(&mut self, group: &str) -> Result<Option<GroupMemory>, HostError> {
        // The path may come from outside (an alert's label): it must not lead out of the hierarchy.
        if !group.starts_with('/') || group.split('/').any(|part| part == "..") {
            return Ok(None);
        }
        let group = group.trim_end_matches('/');
        let mut out = GroupMemory::default();
        let mut found = match &mut self.memory {
            Some((Version::V1, tree)) => v1(tree, group, &mut out)?,
            Some((Version::V2, tree)) => v2(tree, group, &mut out)?,
            None => false,
        };
        if let Some(tree) = &mut self.unified {
            match parsed(tree, &[group, "memory.pressure"], pressure) {
                Ok(pressure) => out.pressure = pressure,
                // So the kernel says that it was started without pressure accounting.
                Err(HostError::Read { source, .. }) if no_pressure(&source) => {}
                Err(e) => return Err(e),
            }
            found = found || counted::exists(tree.path(&[group, "cgroup.procs"]));
        }
        Ok(found.then_some(out))
    }
}

/// Reads a group of a v2 hierarchy. Its root has a memory.stat, but no usage and no limits; a
/// group without the controller has neither.
fn v2(tree: &mut Tree, group: &str, out: &mut GroupMemory) -> Result<bool, HostError> {
    let Some(()) = parsed(tree, &[group, "memory.stat"], |text| files::stat(text, out))? else {
        return Ok(false);
    };
    out.current_bytes = parsed(tree, &[group, "memory.current"], files::amount)?;
    if out.current_bytes.is_none() {
        return Ok(group.is_empty());
    }
    out.limit_bytes = parsed(tree, &[group, "memory.max"], files::limit)?.flatten();
    out.high_bytes = parsed(tree, &[group, "memory.high"], files::limit)?.flatten();
    out.swap_bytes = parsed(tree, &[group, "memory.swap.current"], files::amount)?;
    out.low_bytes = parsed(tree, &[group, "memory.low"], files::protection)?;
    out.min_bytes = parsed(tree, &[group, "memory.min"], files::protection)?;
    out.events = parsed(tree, &[group, "memory.events"], files::events)?.unwrap_or_default();
    Ok(true)
}

/// Reads a group of a v1 hierarchy.
fn v1(tree: &mut Tree, group: &str, out: &mut GroupMemory) -> Result<bool, HostError> {
    let Some(()) = parsed(tree, &[group, "memory.stat"], |text| files::v1_stat(text, out))? else {
        return Ok(false);
    };
    out.current_bytes = parsed(tree, &[group, "memory.usage_in_bytes"], files::amount)?;
    if out.current_bytes.is_none() {
        return Ok(false);
    }
    out.limit_bytes = parsed(tree, &[group, "memory.limit_in_bytes"], files::v1_limit)?.flatten();
    let full = parsed(tree, &[group, "memory.failcnt"], files::amount)?;
    let killed = parsed(tree, &[group, "memory.oom_control"], files::v1_oom_kills)?.flatten();
    let event = |name: &str, count: Option<u64>| count.map(|count| (name.to_owned(), count));
    out.events = event("max", full).into_iter().chain(event("oom_kill", killed)).collect();
    Ok(true)
}

/// Whether `memory` is among the controllers.
fn has_memory(controllers: &str) -> bool {
    controllers.split_ascii_whitespace().any(|name| name == "memory")
}

fn no_pressure(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_hierarchy_is_no_group() {
        let dir = tempfile::tempdir().unwrap();
        for group in ["in", "out"] {
            std::fs::create_dir(dir.path().join(group)).unwrap();
            std::fs::write(dir.path().join(group).join("memory.stat"), "").unwrap();
            std::fs::write(dir.path().join(group).join("memory.current"), "1\n").unwrap();
        }
        let root = dir.path().join("in");
        let hierarchies = Hierarchies { memory: Some((Version::V2, root)), unified: None };
        assert!(hierarchies.read("/").unwrap().is_some());
        for group in ["/../out", "/..", "out", "", "/a/../../out"] {
            assert_eq!(hierarchies.read(group).unwrap(), None, "{group}");
        }
    }

    #[test]
    fn a_host_without_control_groups_has_no_hierarchies() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { sysfs: dir.path().into(), ..Host::default() };
        let none = Hierarchies::detect(&host).unwrap();
        assert!(none.is_empty());
        assert_eq!(none.groups(5, 5).unwrap(), (vec![], 0));
        assert_eq!(none.read("/").unwrap(), None);
    }
}
