//! What a run that pressure asked for knows besides: its rule's evidence, since when it stalls, who was looked up ahead.

use super::super::executor::Shared;
use super::super::observe::{Member, Observation, Observer};
use super::super::policy::Target;
use super::board::Seat;
use super::phases::{Marks, Phase};
use crate::host::{HostError, resident};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long fresh evidence is waited for after an action.
const EVIDENCE_WAIT_MAX: Duration = Duration::from_secs(2);

/// The alarm of a run.
#[derive(Clone, Debug, Default)]
pub struct Alarm {
    /// The rule's seat; none if the rule has gone, and then there is no evidence.
    seat: Option<Arc<Seat>>,
    /// The episode, by its number among the rule's.
    episode: u64,
    /// Since when it stalls and what took how long, where the run begins at once.
    marks: Option<Arc<Marks>>,
}

impl Alarm {
    /// The alarm of a stall whose run begins at once.
    pub(super) fn begun(seat: Arc<Seat>, marks: Arc<Marks>) -> Self {
        Self { episode: seat.episode(), seat: Some(seat), marks: Some(marks) }
    }

    /// The alarm of a run that had to wait.
    pub fn later(shared: &Shared, rule: &str) -> Self {
        let seat = shared.pressure.seat(rule);
        Self { episode: seat.as_ref().map_or(0, |seat| seat.episode()), seat, marks: None }
    }

    /// The target's processes, and one reading of it and of the machine, with the evidence. Three readings 30 ms apart,
    /// of which the median counts, would take longer than all the rest.
    pub fn look(
        &self,
        observer: &Observer,
        target: &Target,
        shared: &Shared,
    ) -> Result<(Vec<Member>, Observation), HostError> {
        // The poll thread has said what is not allowed.
        let _said = resident::hurry();
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

    /// A phase of the reaction has ended.
    pub fn ends(&self, phase: Phase) {
        if phase == Phase::Intend {
            resident::written();
        }
        if let Some(marks) = &self.marks {
            marks.end(phase, Instant::now());
        }
    }

    /// An action has been taken, whose intent was written at `Phase::Intend`; if it was the first of its run, that was the
    /// reaction. Said only afterwards: whoever takes the words may stall, too.
    pub fn has_acted(&self, first: bool, run: i64, shared: &Shared) {
        let Some(marks) = self.marks.as_ref().filter(|_| first) else { return };
        let mut all = Duration::ZERO;
        let mut said = String::new();
        for (phase, took) in marks.took() {
            all += took;
            shared.metrics.pressure.phases.with_label_values(&[phase]).inc_by(took.as_secs_f64());
            // A String takes everything.
            let _written = write!(said, " {phase}={:.1}", took.as_secs_f64() * 1e3);
        }
        shared.metrics.pressure.reaction.observe(all.as_secs_f64());
        shared.traces.fact(run, "headroom.reaction.phases", said.trim_start().to_owned());
        tracing::info!(run, millis = all.as_secs_f64() * 1e3, phases = said.trim_start(), "reaction");
    }

    /// The run has found no trouble, and has done nothing.
    pub fn found_nothing(&self) {
        if let Some(seat) = &self.seat {
            seat.give_up(self.episode);
        }
    }

    /// An action has ended: the next rung wants evidence from after it, also where the rule has gone from the board. To measure
    /// is in no hurry, and others may be.
    pub fn acted(&self) {
        let _said = resident::relax();
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
        let alarm = Alarm::begun(Arc::new(seat), Arc::new(Marks::new(Instant::now())));
        let touched = alarm.touched(&observer, &target, &[]).unwrap();
        assert_eq!(touched.iter().map(|m| m.pid).collect::<Vec<_>>(), [own]);
    }
}
