//! What tests of plans are made from: a target with its group on a machine, and no kernel.

use super::Scene;
use crate::matching::Labels;
use crate::optimize::journal::History;
use crate::optimize::observe::{CgroupMemory, Member, Observation, TargetMemory};
use crate::optimize::policy::Target;
use serde_json::Value;

const GIB: u64 = 1 << 30;

/// All that a scene borrows.
pub(super) struct Stage {
    pub(super) target: Target,
    pub(super) members: Vec<Member>,
    pub(super) before: Observation,
    pub(super) want_bytes: u64,
    pub(super) with: Value,
    pub(super) labels: Labels,
    pub(super) history: History,
}

impl Stage {
    /// A target that is one control group, all of it anonymous memory, on a machine of 8 GiB without swap.
    pub(super) fn group(version: u8, bytes: u64) -> Self {
        let cgroup = CgroupMemory {
            version,
            directory: "/sys/fs/cgroup/shop".into(),
            current_bytes: bytes,
            limit_bytes: None,
            distance_bytes: None,
            anon_bytes: Some(bytes),
            file_bytes: Some(0),
            inactive_file_bytes: Some(0),
            protected_bytes: 0,
            high_bytes: None,
            pressure: None,
            refaults: [None, None],
        };
        let mut before = Observation { at_millis: 1_800_000_000_000, ..Observation::default() };
        before.machine.total_bytes = 8 * GIB;
        before.machine.available_bytes = GIB;
        before.target = Some(TargetMemory { bytes, cgroup: Some(cgroup), ..TargetMemory::default() });
        let target = Target { name: "shop".into(), cgroup: Some("/shop".into()), ..Target::default() };
        Self {
            target,
            members: Vec::new(),
            before,
            want_bytes: bytes,
            with: Value::Null,
            labels: Labels::default(),
            history: History::default(),
        }
    }

    pub(super) fn group_mut(&mut self) -> &mut CgroupMemory {
        self.before.target.as_mut().unwrap().cgroup.as_mut().unwrap()
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            target: &self.target,
            members: &self.members,
            before: &self.before,
            want_bytes: self.want_bytes,
            with: &self.with,
            labels: &self.labels,
            history: &self.history,
        }
    }
}
