//! What a run that pressure asked for knows besides: its rule's evidence, since when it stalls, who was looked up ahead.

use super::super::executor::Shared;
use super::super::observe::{Member, Observation, Observer};
use super::super::policy::Target;
use super::board::Seat;
use crate::host::HostError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long fresh evidence is waited for after an action.
const EVIDENCE_WAIT_MAX: Duration = Duration::from_secs(2);

/// The alarm of a run.
#[derive(Clone, Debug, Default)]
pub struct Alarm {
    /// The rule's seat; none if the rule has gone, and then there is no evidence.
    seat: Option<Arc<Seat>>,
    /// When the stall began, where the run begins at once.
    onset: Option<Instant>,
}

impl Alarm {
    /// The alarm of a stall that began at `onset`.
    pub(super) fn begun(seat: Arc<Seat>, onset: Instant) -> Self {
        Self { seat: Some(seat), onset: Some(onset) }
    }

    /// The alarm of a run that had to wait.
    pub fn later(shared: &Shared, rule: &str) -> Self {
        Self { seat: shared.pressure.seat(rule), onset: None }
    }

    /// The target's processes, and one reading of it and of the machine, with the evidence. Three readings 30 ms apart,
    /// of which the median counts, would take longer than all the rest.
    pub fn look(
        &self,
        observer: &Observer,
        target: &Target,
        shared: &Shared,
    ) -> Result<(Vec<Member>, Observation), HostError> {
        let stall = self.seat.as_ref().and_then(|seat| {
            let begun = Instant::now();
            loop {
                let stall = seat.evidence();
                if stall.is_some() || begun.elapsed() > EVIDENCE_WAIT_MAX || shared.held().is_some() {
                    return stall;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let recent = self.seat.as_ref().and_then(|seat| seat.recent());
        let members = match &recent {
            Some(prepared) if target.process_group.is_some() => prepared.members.clone(),
            Some(prepared) => observer.joined(target, &prepared.members)?,
            None => observer.members(target)?,
        };
        let seen = observer.lean(target, &members, (shared.clock)())?;
        Ok((members, Observation { stall, ..seen }))
    }

    /// All processes that an action can touch. Those in the target's control group, in whichever hierarchy, are counted
    /// anew; of those known already nothing is read again.
    pub fn touched(
        &self,
        observer: &Observer,
        target: &Target,
        members: &[Member],
    ) -> Result<Vec<Member>, HostError> {
        let recent = self.seat.as_ref().and_then(|seat| seat.recent());
        observer.touched(target, recent.as_ref().map_or(members, |prepared| &prepared.touched))
    }

    /// An action begins; if it is the first of its run, this is the reaction.
    pub fn acts(&self, first: bool, shared: &Shared) {
        if let Some(onset) = self.onset.filter(|_| first) {
            shared.metrics.pressure.reaction.observe(onset.elapsed().as_secs_f64());
        }
    }

    /// An action has ended: the next rung wants evidence from after it.
    pub fn acted(&self) {
        if let Some(seat) = &self.seat {
            seat.mark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::super::scene::Prepared;
    use super::*;
    use crate::host::Host;
    use crate::host::group::Grouping;

    #[test]
    fn whoever_is_in_the_freezers_group_alone_is_seen_on_the_short_way_too() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for (hierarchy, pids) in [("memory", String::new()), ("freezer", format!("{own}\n"))] {
            let group = dir.path().join("fs/cgroup").join(hierarchy).join("shop");
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join("cgroup.procs"), pids).unwrap();
        }
        let host = Host { sysfs: dir.path().to_owned(), ..Host::default() };
        let observer = Observer::new(host, Grouping::new(&[]).unwrap());
        let target = Target { cgroup: Some("/shop".into()), ..Target::default() };
        let seat = Seat::new(Rule::default(), Instant::now());
        *seat.prepared.lock().unwrap() = Some(Arc::new(Prepared::of(Vec::new(), Vec::new())));
        let alarm = Alarm::begun(Arc::new(seat), Instant::now());
        let touched = alarm.touched(&observer, &target, &[]).unwrap();
        assert_eq!(touched.iter().map(|m| m.pid).collect::<Vec<_>>(), [own]);
    }
}
