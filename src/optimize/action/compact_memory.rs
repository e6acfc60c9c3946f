//! The kernel moves pages together so that large blocks are free: of use where large pages fail, and seldom for memory.
//!
//! Source: `Documentation/admin-guide/sysctl/vm.rst`.

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, machine_wide};
use crate::host::Host;
use crate::host::hand::Hand;
use crate::optimize::observe::Observation;
use crate::optimize::verify::Verdict;
use serde_json::Value;

/// Compacts the machine's memory.
pub struct CompactMemory;

impl Action for CompactMemory {
    fn name(&self) -> &'static str {
        "compact_memory"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "has the kernel move pages together until large blocks are free; seldom useful for anything but large pages",
            cost: "processor time of the kernel, and short stalls of programs whose pages move",
            capabilities: &[],
            needs: "the user root, for /proc/sys/vm/compact_memory; `with: {try: true}` for the first time, afterwards a record that shows a gain; at most once an hour",
            verified: "available memory must rise, and free blocks of at least a huge page by as much",
            undone: "not needed: nothing is taken from anybody",
        }
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        machine_wide::check(with)
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        machine_wide::plan(scene, self.name(), 1, None)
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        machine_wide::permit(plan, host)
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        machine_wide::execute(plan, hand, watch)
    }

    fn verify(&self, before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
        let large = |o: &Observation| o.machine.large_free_bytes.unwrap_or(0);
        let rose = large(after).saturating_sub(large(before));
        machine_wide::verify((before, after), (rose, "free large blocks rose by"), min_gain_bytes)
    }
}
