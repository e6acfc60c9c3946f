//! The guards: whether a run may act now, later or never. An action may be stricter; it cannot be looser.

pub mod boundary;
pub mod breaker;
pub mod maintenance;
pub mod radius;

use super::journal::Past;
use crate::host::proc;
use bytesize::ByteSize;
use serde::Deserialize;
use std::time::Duration;

/// The window of the rate limit.
pub const RATE_WINDOW: Duration = Duration::from_hours(1);
/// Headroom's own name, whatever the configuration protects.
const OWN_COMM: &str = "headroom";
/// A run that waits for a free worker, or for the end of a pause, asks again after this time.
pub const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A run that waits for the end of a maintenance window asks again after this time at the latest.
const MAINTENANCE_ASK: Duration = Duration::from_mins(1);

/// The limits that all actions share.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Time between the last step of one run and the first of another.
    #[serde(with = "humantime_serde")]
    pub cooldown: Duration,
    /// The same, for runs on the same target. Longer than the look-back of the alert's expression.
    #[serde(with = "humantime_serde")]
    pub target_cooldown: Duration,
    /// Steps in an hour.
    pub actions_per_hour: u64,
    /// Runs that act at the same time.
    pub concurrent_runs: usize,
    /// Names of processes (comm) that are never touched, nor any group that holds one.
    pub protected: Vec<String>,
    /// Whether `kill` may end processes, where a ladder names it.
    pub allow_kill: bool,
    /// The least memory that is worth an action, and that counts as gained.
    pub min_gain: ByteSize,
    /// Times of the week in which nothing is done.
    pub maintenance: Vec<maintenance::Window>,
    /// When an action is left out on a target.
    pub breaker: breaker::Options,
    /// How many targets, and how much, may be touched within a time.
    pub blast_radius: radius::Options,
}

impl Options {
    /// The longest that a guard lets a run wait, in milliseconds.
    pub fn horizon_millis(&self) -> i64 {
        let waits = [self.cooldown, self.target_cooldown, self.blast_radius.window];
        millis(waits.into_iter().fold(RATE_WINDOW, Duration::max))
    }
}

impl Default for Options {
    fn default() -> Self {
        let protected = [
            "systemd",
            "init",
            "sshd",
            "dbus-daemon",
            "containerd",
            "dockerd",
            "kubelet",
            "prometheus",
            "alertmanager",
            "prometheus-alertmanager",
        ];
        Self {
            cooldown: Duration::from_secs(10),
            target_cooldown: Duration::from_mins(5),
            actions_per_hour: 30,
            concurrent_runs: 1,
            protected: protected.map(String::from).to_vec(),
            allow_kill: false,
            min_gain: ByteSize::mib(8),
            maintenance: Vec::new(),
            breaker: breaker::Options::default(),
            blast_radius: radius::Options::default(),
        }
    }
}

/// Which guard said no; the `guard` label of `headroom_optimizer_guard_refusals_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A person holds all actions.
    Paused,
    /// Nothing is done in a dry run.
    DryRun,
    /// Too soon after another run on this target.
    TargetCooldown,
    /// Too soon after any other run.
    GlobalCooldown,
    /// Too many steps in the last hour.
    RateLimit,
    /// Enough runs act already.
    Concurrency,
    /// The target holds a process that is never touched.
    Protected,
    /// There is too little to gain.
    MinGain,
    /// The action is not allowed on this machine.
    NotAllowed,
    /// The action was taken too often lately.
    ActionLimit,
    /// A time of the week in which nothing is done.
    Maintenance,
    /// The action lately gained nothing on this target, or did harm there.
    Breaker,
    /// Enough targets, or bytes, were touched lately.
    BlastRadius,
    /// The target reaches across the boundary of a container.
    Boundary,
}

impl Guard {
    /// All guards, so that each counter exists from the start.
    pub const ALL: [Self; 14] = [
        Self::Paused,
        Self::DryRun,
        Self::TargetCooldown,
        Self::GlobalCooldown,
        Self::RateLimit,
        Self::Concurrency,
        Self::Protected,
        Self::MinGain,
        Self::NotAllowed,
        Self::ActionLimit,
        Self::Maintenance,
        Self::Breaker,
        Self::BlastRadius,
        Self::Boundary,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::DryRun => "dry_run",
            Self::TargetCooldown => "cooldown_target",
            Self::GlobalCooldown => "cooldown_global",
            Self::RateLimit => "rate_limit",
            Self::Concurrency => "concurrency",
            Self::Protected => "protected",
            Self::MinGain => "min_gain",
            Self::NotAllowed => "not_allowed",
            Self::ActionLimit => "action_limit",
            Self::Maintenance => "maintenance",
            Self::Breaker => "breaker",
            Self::BlastRadius => "blast_radius",
            Self::Boundary => "container_boundary",
        }
    }
}

/// The guards' answer on time and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Admit,
    /// Not before `until`, in milliseconds since the epoch.
    Defer {
        /// Who says so.
        guard: Guard,
        /// When to ask again.
        until: i64,
    },
}

/// Whether a run may begin to act at `now` (milliseconds since the epoch) beside `active` others.
pub fn admit(now: i64, past: &Past, active: usize, busy_target: bool, options: &Options) -> Admission {
    let later = |guard, until| Admission::Defer { guard, until };
    if active >= options.concurrent_runs.max(1) || busy_target {
        return later(Guard::Concurrency, now.saturating_add(millis(ASK_AGAIN)));
    }
    if let Some(until) = maintenance::until(&options.maintenance, now) {
        // Windows may be longer than any wait: it is asked again within it.
        return later(Guard::Maintenance, until.min(now.saturating_add(millis(MAINTENANCE_ASK))));
    }
    let waits = [
        (Guard::TargetCooldown, past.last_step_on_target_at, options.target_cooldown),
        (Guard::GlobalCooldown, past.last_step_at, options.cooldown),
    ];
    for (guard, last, cooldown) in waits {
        // A clock that was set back must not stop everything until it has caught up.
        let until = last
            .filter(|&at| at <= now.saturating_add(millis(cooldown)))
            .map(|at| at.saturating_add(millis(cooldown)));
        if let Some(until) = until.filter(|&until| until > now) {
            return later(guard, until);
        }
    }
    if past.steps_in_window >= options.actions_per_hour {
        let oldest = past.oldest_in_window_at.unwrap_or(now).min(now);
        return later(
            Guard::RateLimit,
            oldest.saturating_add(millis(RATE_WINDOW)).max(now.saturating_add(1000)),
        );
    }
    if let Some(until) = radius::until(now, &past.reached, &options.blast_radius) {
        return later(Guard::BlastRadius, until);
    }
    Admission::Admit
}

/// The process that forbids to touch a target, among its members (pid, name, kernel thread or not).
pub fn protected<'a>(
    members: impl Iterator<Item = (u32, &'a str, bool)>,
    own_pids: &[u32],
    options: &Options,
) -> Option<String> {
    for (pid, comm, kernel) in members {
        let why = if pid == 1 {
            "PID 1"
        } else if kernel {
            "a thread of the kernel"
        } else if own_pids.contains(&pid) || comm == OWN_COMM {
            "Headroom itself, or a process that it runs under"
        } else if options.protected.iter().any(|p| proc::comm_is(p, comm)) {
            "on the list of protected processes"
        } else {
            continue;
        };
        return Some(format!("process {pid} ({comm:?}) is {why}"));
    }
    None
}

/// The times that guards ask the record about, each up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// That of the rate limit.
    pub rate: (i64, i64),
    /// That of the blast radius.
    pub radius: (i64, i64),
}

/// The windows that end at `now`.
pub fn windows(now: i64, options: &Options) -> Windows {
    let back = |time| (now.saturating_sub(millis(time)), now);
    Windows { rate: back(RATE_WINDOW), radius: back(options.blast_radius.window) }
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(any: Option<i64>, target: Option<i64>, steps: u64) -> Past {
        Past {
            last_step_at: any,
            last_step_on_target_at: target,
            steps_in_window: steps,
            oldest_in_window_at: Some(0),
            ..Past::default()
        }
    }

    #[test]
    fn each_guard_says_until_when() {
        let o = Options::default();
        let now = 1_000_000;
        let defer = |guard, until| Admission::Defer { guard, until };
        assert_eq!(admit(now, &past(None, None, 0), 0, false, &o), Admission::Admit);
        assert_eq!(admit(now, &past(None, None, 0), 1, false, &o), defer(Guard::Concurrency, now + 500));
        assert_eq!(admit(now, &past(None, None, 0), 0, true, &o), defer(Guard::Concurrency, now + 500));
        assert_eq!(
            admit(now, &past(Some(now - 1), Some(now - 1), 0), 0, false, &o),
            defer(Guard::TargetCooldown, now + 299_999)
        );
        assert_eq!(
            admit(now, &past(Some(now - 1), None, 0), 0, false, &o),
            defer(Guard::GlobalCooldown, now + 9_999)
        );
        assert_eq!(
            admit(now, &past(Some(now - 10_000), Some(now - 300_000), 0), 0, false, &o),
            Admission::Admit
        );
        assert_eq!(admit(now, &past(None, None, 30), 0, false, &o), defer(Guard::RateLimit, 3_600_000));
    }

    #[test]
    fn within_a_maintenance_window_and_beyond_the_blast_radius_it_waits() {
        let day = serde_json::from_str(r#"{"from": "00:00", "to": "00:00"}"#).unwrap();
        let o = Options { maintenance: vec![day], ..Options::default() };
        let wait = |until| Admission::Defer { guard: Guard::Maintenance, until };
        assert_eq!(admit(5, &Past::default(), 0, false, &o), wait(60_005));
        let end = 24 * 3_600_000;
        assert_eq!(admit(end - 7, &Past::default(), 0, false, &o), wait(end));
        let o = Options::default();
        let reached = radius::Reached { others: 10, freed_bytes: 0, oldest_at: Some(0) };
        let wide = Past { reached, ..Past::default() };
        let until = 600_000;
        assert_eq!(admit(5, &wide, 0, false, &o), Admission::Defer { guard: Guard::BlastRadius, until });
        assert_eq!(admit(until, &Past::default(), 0, false, &o), Admission::Admit);
    }

    #[test]
    fn headroom_is_protected_whatever_the_list_says_and_long_names_are_known() {
        let o = Options { protected: vec!["prometheus-alertmanager".into()], ..Options::default() };
        for (comm, safe) in [("headroom", true), ("prometheus-aler", true), ("prometheus", false)] {
            assert_eq!(protected([(7, comm, false)].into_iter(), &[], &o).is_some(), safe, "{comm}");
        }
    }

    #[test]
    fn a_clock_set_back_does_not_stop_everything() {
        let o = Options::default();
        assert_eq!(admit(1_000, &past(Some(9_000_000), Some(9_000_000), 0), 0, false, &o), Admission::Admit);
        // By a little, it costs at most another cool-down.
        let mut now = 100_000;
        while let Admission::Defer { until, .. } = admit(now, &past(Some(105_000), None, 0), 0, false, &o) {
            assert!(until > now && until <= 115_000, "{until}");
            now = until;
        }
    }

    #[test]
    fn a_group_with_one_protected_process_is_not_touched() {
        let o = Options::default();
        let check = |pid, comm, kernel| {
            protected([(500, "cache", false), (pid, comm, kernel)].into_iter(), &[77], &o)
        };
        assert_eq!(check(600, "cache", false), None);
        assert!(check(1, "x", false).unwrap().contains("PID 1"));
        assert!(check(2, "kthreadd", true).unwrap().contains("kernel"));
        assert!(check(77, "x", false).unwrap().contains("Headroom"));
        assert!(check(600, "sshd", false).unwrap().contains("protected"));
    }
}
