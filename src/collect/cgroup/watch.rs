//! What the control groups' memory did lately: how far each is from its limits, when it will be there, and what it needs.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `mm/workingset.c`.

use super::super::trend::Trend;
use crate::host::cgroup::GroupMemory;
use std::collections::HashMap;
use std::time::Duration;

/// In this time the evidence of the past counts half.
const HALF_LIFE: Duration = Duration::from_mins(5);
/// Reclaim that took less than this many pages lately proves nothing.
const EVIDENCE_PAGES_MIN: f64 = 256.0;

/// What is known of one group beyond what its files say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outlook {
    /// What the group can still take: the smallest distance to a limit, of itself or of a group above it, or what the machine
    /// has available. What the kernel can take back at once counts as available, as it does in the machine's MemAvailable.
    pub available_bytes: Option<u64>,
    /// When the first of these limits is reached if memory goes on growing as in the last minutes.
    pub time_to_limit_seconds: Option<f64>,
    /// What the group needs.
    pub working_set_bytes: Option<u64>,
}

/// The past of all groups that there are.
#[derive(Debug, Default)]
pub(super) struct Watch {
    groups: HashMap<String, Past>,
    pass: u64,
}

#[derive(Debug, Default)]
struct Past {
    pass: u64,
    /// Only of groups with a limit.
    needed: Trend,
    reclaim: Evidence,
}

impl Watch {
    /// Takes in one pass over the groups, those above before those below, and says what is to be expected of each.
    pub(super) fn look(
        &mut self,
        now: Duration,
        machine_available: Option<u64>,
        groups: &[(String, GroupMemory)],
    ) -> Vec<Outlook> {
        self.pass += 1;
        let mut known: HashMap<&str, Outlook> = HashMap::with_capacity(groups.len());
        let mut all = Vec::with_capacity(groups.len());
        for (name, memory) in groups {
            let above = std::iter::successors(parent(name), |name| parent(name))
                .find_map(|name| known.get(name))
                .copied()
                .unwrap_or(Outlook { available_bytes: machine_available, ..Outlook::default() });
            let past = match self.groups.get_mut(name) {
                Some(past) => past,
                None => self.groups.entry(name.clone()).or_default(),
            };
            past.pass = self.pass;
            let own = past.look(now, memory);
            let outlook = Outlook {
                available_bytes: least(own.available_bytes, above.available_bytes),
                time_to_limit_seconds: earliest(own.time_to_limit_seconds, above.time_to_limit_seconds),
                working_set_bytes: own.working_set_bytes,
            };
            known.insert(name, outlook);
            all.push(outlook);
        }
        let pass = self.pass;
        self.groups.retain(|_, past| past.pass == pass);
        all
    }
}

impl Past {
    /// What follows from the group's own files.
    fn look(&mut self, now: Duration, memory: &GroupMemory) -> Outlook {
        let bound = memory.bound_bytes().zip(memory.needed_bytes());
        let available_bytes = bound.map(|(limit, needed)| limit.saturating_sub(needed));
        let mut time_to_limit_seconds = None;
        if let Some(((_, needed), distance)) = bound.zip(available_bytes) {
            self.needed.add(now, needed);
            time_to_limit_seconds = self.needed.seconds_until(distance);
        } else {
            self.needed = Trend::default();
        }
        let activated = memory.activate_anon.zip(memory.activate_file).map(|(a, f)| a.saturating_add(f));
        let needed_again = self.reclaim.add(now, memory.reclaimed_pages.zip(activated));
        let working_set_bytes =
            memory.current_bytes.zip(memory.inactive_file_bytes).map(|(all, inactive)| {
                let unused = inactive as f64 * (1.0 - needed_again);
                all.saturating_sub(whole(unused))
            });
        Outlook { available_bytes, time_to_limit_seconds, working_set_bytes }
    }
}

/// What reclaim took from a group, and how much of that the group needed again.
#[derive(Debug, Default)]
struct Evidence {
    last: Option<(Duration, u64, u64)>,
    taken: f64,
    needed_again: f64,
}

impl Evidence {
    /// Takes in the counts of pages taken and of pages activated when they were needed again; the share (0 to 1) of what was
    /// taken lately that belonged to the working set.
    fn add(&mut self, now: Duration, counts: Option<(u64, u64)>) -> f64 {
        let Some((taken, activated)) = counts else { return 0.0 };
        if let Some((before, taken_before, activated_before)) = self.last {
            let (Some(passed), Some(more_taken), Some(more_activated)) = (
                now.checked_sub(before),
                taken.checked_sub(taken_before),
                activated.checked_sub(activated_before),
            ) else {
                // The counts or the clock began anew: another group of the same name.
                *self = Self { last: Some((now, taken, activated)), ..Self::default() };
                return 0.0;
            };
            let kept = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
            self.taken = self.taken * kept + more_taken as f64;
            self.needed_again = self.needed_again * kept + more_activated as f64;
        }
        self.last = Some((now, taken, activated));
        if self.taken < EVIDENCE_PAGES_MIN { 0.0 } else { (self.needed_again / self.taken).min(1.0) }
    }
}

/// An amount without what is behind the point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and no amount is negative"
)]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

/// The group above one; the root's is none.
fn parent(name: &str) -> Option<&str> {
    match name.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn earliest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn group(name: &str, current_mib: u64, limit_mib: Option<u64>) -> (String, GroupMemory) {
        let memory = GroupMemory {
            current_bytes: Some(current_mib * MIB),
            limit_bytes: limit_mib.map(|mib| mib * MIB),
            reclaimable_bytes: Some(0),
            inactive_file_bytes: Some(0),
            ..GroupMemory::default()
        };
        (name.to_owned(), memory)
    }

    fn available(outlooks: &[Outlook]) -> Vec<Option<u64>> {
        outlooks.iter().map(|outlook| outlook.available_bytes.map(|bytes| bytes / MIB)).collect()
    }

    #[test]
    fn the_nearest_limit_upwards_counts_and_the_machine_is_the_outermost() {
        let groups = [
            group("/", 5000, None),
            group("/a", 900, Some(1000)),
            group("/b", 10, Some(8000)),
            group("/c", 10, None),
            group("/a/near", 50, Some(80)),
            group("/a/far", 50, Some(800)),
            group("/a/gone/deep", 50, None),
        ];
        let outlooks = Watch::default().look(at(1), Some(2000 * MIB), &groups);
        let wanted = [2000, 100, 2000, 2000, 30, 100, 100].map(Some);
        assert_eq!(available(&outlooks), wanted);
        assert_eq!(available(&Watch::default().look(at(1), None, &groups[2..4])), [Some(7990), None]);
    }

    #[test]
    fn high_and_v1s_limit_of_groups_out_of_sight_count_and_cache_that_can_go_does_not() {
        let mut high = group("/a", 900, Some(1000));
        high.1.high_bytes = Some(950 * MIB);
        let mut cache = group("/b", 1000, Some(1000));
        cache.1.reclaimable_bytes = Some(600 * MIB);
        let mut v1 = group("/c", 100, None);
        v1.1.hierarchical_limit_bytes = Some(300 * MIB);
        let over = group("/d", 900, Some(800));
        let outlooks = Watch::default().look(at(1), None, &[high, cache, v1, over]);
        assert_eq!(available(&outlooks), [50, 600, 200, 0].map(Some));
    }

    #[test]
    fn the_time_to_a_limit_is_that_of_the_first_to_be_reached() {
        let mut watch = Watch::default();
        let mut outlooks = Vec::new();
        for i in 0..20 {
            let groups = [
                group("/", 0, None),
                // 1 MiB a second; 600 MiB are left at the end.
                group("/a", 15 * i, Some(15 * 19 + 600)),
                group("/b", 15 * i, None),
                group("/a/slow", 100 + i, Some(100 + 19 + 100)),
                group("/a/still", 100, Some(101)),
                group("/a/fast", 15 * i, Some(15 * 19 + 60)),
            ];
            outlooks = watch.look(at(1000 + i * 15), Some(MIB), &groups);
        }
        let seconds: Vec<Option<f64>> = outlooks.iter().map(|o| o.time_to_limit_seconds).collect();
        assert_eq!(seconds, [None, Some(600.0), None, Some(600.0), Some(600.0), Some(60.0)]);
    }

    #[test]
    fn groups_that_are_gone_are_forgotten_and_new_ones_of_their_name_begin_anew() {
        let mut watch = Watch::default();
        for i in 0..9 {
            watch.look(at(i * 15), None, &[group("/a", 10 + i, Some(100))]);
        }
        watch.look(at(200), None, &[group("/b", 1, None)]);
        assert_eq!(watch.groups.len(), 1);
        let outlook = watch.look(at(215), None, &[group("/a", 20, Some(100))]);
        assert_eq!(outlook[0].time_to_limit_seconds, None);
    }

    /// A group of 100 MiB, 60 of them page cache on the inactive list.
    fn reclaimed(pages: u64, activated: u64) -> [(String, GroupMemory); 1] {
        let (name, mut memory) = group("/a", 100, None);
        memory.inactive_file_bytes = Some(60 * MIB);
        (memory.reclaimed_pages, memory.activate_anon, memory.activate_file) =
            (Some(pages), Some(activated / 2), Some(activated - activated / 2));
        [(name, memory)]
    }

    #[test]
    fn the_working_set_is_without_the_inactive_page_cache_unless_reclaim_showed_that_it_is_needed() {
        let mut watch = Watch::default();
        let mut mib = |seconds, pages, activated| {
            let outlook = watch.look(at(seconds), None, &reclaimed(pages, activated));
            outlook[0].working_set_bytes.unwrap() / MIB
        };
        assert_eq!(mib(0, 1_000_000, 900_000), 40, "what was before the first look is not known");
        assert_eq!(mib(15, 1_000_100, 900_100), 40, "a hundred pages prove nothing");
        assert_eq!(mib(15, 1_001_000, 900_500), 70, "half of what was taken was needed again");
        assert!((75..100).contains(&mib(30, 1_002_000, 901_500)), "all of it");
        assert_eq!(mib(3000, 1_002_000, 901_500), 40, "long ago");
        assert_eq!(mib(3015, 10, 5), 40, "another group");
        assert_eq!(mib(3030, 1010, 2000), 100, "more came back than went: all of it is needed");
    }

    #[test]
    fn a_kernel_that_does_not_count_reclaim_gives_the_plain_working_set() {
        let (name, mut memory) = group("/a", 100, None);
        memory.inactive_file_bytes = Some(30 * MIB);
        let groups = [(name, memory)];
        let outlook = Watch::default().look(at(1), None, &groups)[0];
        assert_eq!(outlook.working_set_bytes, Some(70 * MIB));
        let outlook = Watch::default().look(at(1), None, &[("/".to_owned(), GroupMemory::default())])[0];
        assert_eq!(outlook, Outlook::default(), "what is not known is absent");
    }

    proptest! {
        #[test]
        fn the_working_set_lies_between_no_inactive_cache_and_the_whole_use(
            steps in proptest::collection::vec((0_u64..10_000, any::<u64>(), any::<u64>()), 1..20),
        ) {
            let mut watch = Watch::default();
            for (seconds, pages, activated) in steps {
                let outlook = watch.look(at(seconds), None, &reclaimed(pages, activated))[0];
                let bytes = outlook.working_set_bytes.unwrap();
                prop_assert!((40 * MIB..=100 * MIB).contains(&bytes), "{bytes}");
            }
        }
    }
}
