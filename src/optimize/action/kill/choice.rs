//! Who is ended: the largest of growth × size, within classes; a pure function of what was seen.

use super::Options;
use crate::host::proc::comm_is;
use crate::optimize::action::Refusal;
use crate::optimize::observe::facts::{Facts, ProcessFacts};
use bytesize::ByteSize;
use std::path::PathBuf;

/// What is to end, and why.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// The processes.
    pub(super) processes: Vec<&'a ProcessFacts>,
    /// Their group, if all of it ends.
    pub(super) group: Option<PathBuf>,
    /// What they hold.
    pub(super) size_bytes: u64,
    /// Why, in words.
    pub(super) why: String,
}

/// Which are taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Avoided,
    Usual,
    Preferred,
}

/// One process, or all of a group.
struct Candidate<'a> {
    processes: Vec<&'a ProcessFacts>,
    group: Option<PathBuf>,
    class: Class,
    size: u64,
    growth: u64,
}

/// Chooses among the target's processes.
pub(super) fn choose<'a>(facts: &'a Facts, options: &Options) -> Result<Choice<'a>, Refusal> {
    let all = candidates(facts, options);
    let count = all.len();
    let min_growth = options.min_growth.as_u64();
    let best = all
        .into_iter()
        .filter(|c| !options.only_growing || c.growth >= min_growth)
        // Of equals the younger one: it has done less. The numbers make the choice the same each time.
        .max_by_key(|c| {
            (c.class, score(c, min_growth), c.size, c.processes.first().map(|p| (p.start_ticks, p.pid)))
        });
    let Some(best) = best else {
        return Err(Refusal(if count == 0 {
            "the target has no process that may be ended".to_owned()
        } else {
            format!("none of {count} processes or groups grows by {} in a second", options.min_growth)
        }));
    };
    let [size, growth] = [best.size, best.growth].map(|b| ByteSize::b(b).display().iec().to_string());
    let class = match best.class {
        Class::Avoided => ", though avoided",
        Class::Usual => "",
        Class::Preferred => ", preferred",
    };
    let why = format!("it holds {size} and grew by {growth} in a second{class}; the first of {count}");
    Ok(Choice { processes: best.processes, group: best.group, size_bytes: best.size, why })
}

/// Growth × size; what does not grow comes after all that does.
fn score(c: &Candidate<'_>, min_growth: u64) -> u128 {
    if c.growth < min_growth { 0 } else { u128::from(c.growth) * u128::from(c.size) }
}

fn candidates<'a>(facts: &'a Facts, options: &Options) -> Vec<Candidate<'a>> {
    let mut out = Vec::new();
    let whole = |p: &ProcessFacts| {
        let unit = p.unit.and_then(|u| facts.units.get(u));
        unit.filter(|u| options.whole_group || u.whole)
    };
    for process in facts.processes.iter().filter(|p| !is_exempt(p) && !has_ended(p) && whole(p).is_none()) {
        out.push(candidate(vec![process], None, options));
    }
    for unit in facts.units.iter().filter(|u| options.whole_group || u.whole) {
        let member = |pid: &u32| facts.processes.iter().find(|p| p.pid == *pid);
        // One that is not the target's, or is exempt, keeps all of its group; a zombie may have threads that live.
        let ours = unit.processes.iter().all(|pid| member(pid).is_some_and(|p| !is_exempt(p)));
        let alive: Vec<_> = unit.processes.iter().filter_map(member).filter(|p| !has_ended(p)).collect();
        if ours && !alive.is_empty() {
            out.push(candidate(alive, Some(unit.directory.clone()), options));
        }
    }
    out
}

fn candidate<'a>(
    processes: Vec<&'a ProcessFacts>,
    group: Option<PathBuf>,
    options: &Options,
) -> Candidate<'a> {
    let sum = |of: fn(&ProcessFacts) -> u64| processes.iter().map(|p| of(p)).fold(0, u64::saturating_add);
    let (size, growth) = (sum(|p| p.size_bytes), sum(|p| p.growth_bytes.unwrap_or(0)));
    // A group is avoided for one of its processes, and preferred only for all.
    let class = processes.iter().map(|p| class(p, options)).min().unwrap_or(Class::Avoided);
    Candidate { processes, group, class, size, growth }
}

fn class(process: &ProcessFacts, options: &Options) -> Class {
    let named = |names: &[String]| names.iter().any(|name| comm_is(name, &process.comm));
    if named(&options.avoid) || process.oom_score_adj.is_some_and(|adj| adj < 0) {
        Class::Avoided
    } else if named(&options.prefer) {
        Class::Preferred
    } else {
        Class::Usual
    }
}

fn has_ended(process: &ProcessFacts) -> bool {
    matches!(process.state, 'Z' | 'X' | 'x')
}

/// PID 1, a thread of the kernel, what the kernel's killer must not touch, or what nobody can tell of. What the guards
/// protect never comes so far.
fn is_exempt(process: &ProcessFacts) -> bool {
    process.pid <= 1 || process.kernel_thread || process.oom_score_adj.is_none_or(|adj| adj <= -1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::control::Unit;

    const MIB: u64 = 1 << 20;

    /// A process by number, with its size and its growth in MiB.
    fn process(pid: u32, size: u64, growth: u64) -> ProcessFacts {
        ProcessFacts {
            pid,
            comm: format!("p{pid}"),
            state: 'S',
            size_bytes: size * MIB,
            growth_bytes: Some(growth * MIB),
            oom_score_adj: Some(0),
            ..ProcessFacts::default()
        }
    }

    fn facts(processes: Vec<ProcessFacts>) -> Facts {
        Facts { processes, ..Facts::default() }
    }

    fn chosen(facts: &Facts, options: &Options) -> Result<Vec<u32>, String> {
        let choice = choose(facts, options).map_err(|r| r.0)?;
        Ok(choice.processes.iter().map(|p| p.pid).collect())
    }

    #[test]
    fn the_one_that_grows_is_chosen_and_not_the_largest() {
        let facts =
            facts(vec![process(5, 900, 0), process(6, 100, 20), process(7, 400, 1), process(8, 3, 30)]);
        assert_eq!(chosen(&facts, &Options::default()).unwrap(), [6]);
        let why = choose(&facts, &Options::default()).unwrap().why;
        assert_eq!(why, "it holds 100.0 MiB and grew by 20.0 MiB in a second; the first of 4");
    }

    #[test]
    fn where_nothing_grows_nobody_is_ended_unless_that_is_asked_for() {
        let facts = facts(vec![process(5, 900, 0), process(6, 100, 0)]);
        assert!(chosen(&facts, &Options::default()).unwrap_err().contains("none of 2"));
        let any = Options { only_growing: false, ..Options::default() };
        assert_eq!(chosen(&facts, &any).unwrap(), [5]);
        let grows = self::facts(vec![process(5, 900, 0), process(6, 100, 2)]);
        assert_eq!(chosen(&grows, &any).unwrap(), [6]);
        let mut unseen = process(7, 9, 9);
        unseen.growth_bytes = None;
        assert!(chosen(&self::facts(vec![unseen]), &Options::default()).is_err());
    }

    #[test]
    fn classes_come_before_the_score() {
        let facts = facts(vec![process(5, 900, 90), process(6, 10, 2), process(7, 50, 5)]);
        let options = |prefer: &[&str], avoid: &[&str]| Options {
            prefer: prefer.iter().map(|&s| s.into()).collect(),
            avoid: avoid.iter().map(|&s| s.into()).collect(),
            ..Options::default()
        };
        assert_eq!(chosen(&facts, &options(&["p6"], &[])).unwrap(), [6]);
        assert_eq!(chosen(&facts, &options(&[], &["p5"])).unwrap(), [7]);
        assert_eq!(chosen(&facts, &options(&[], &["p5", "p6", "p7"])).unwrap(), [5]);
        assert_eq!(
            chosen(&facts, &options(&["p5"], &["p5"])).unwrap(),
            [7],
            "who is avoided is not preferred"
        );
    }

    #[test]
    fn some_are_never_ended() {
        let exempt = ProcessFacts { oom_score_adj: Some(-1000), ..process(5, 9, 9) };
        let hidden = ProcessFacts { oom_score_adj: None, ..process(6, 9, 9) };
        let zombie = ProcessFacts { state: 'Z', ..process(7, 9, 9) };
        let kernel = ProcessFacts { kernel_thread: true, ..process(8, 9, 9) };
        for never in [exempt, hidden, zombie, kernel, process(1, 9, 9), process(0, 9, 9)] {
            let why = chosen(&facts(vec![never]), &Options::default()).unwrap_err();
            assert!(why.contains("no process that may be ended"), "{why}");
        }
        let shy = ProcessFacts { oom_score_adj: Some(-1), ..process(5, 900, 90) };
        assert_eq!(chosen(&facts(vec![shy, process(6, 9, 2)]), &Options::default()).unwrap(), [6]);
    }

    #[test]
    fn a_group_that_is_one_thing_ends_whole_or_not_at_all() {
        let grouped = |whole, processes: &[u32]| {
            let member = |pid, growth| ProcessFacts { unit: Some(0), ..process(pid, 10, growth) };
            let unit = Unit { directory: "/g".into(), whole, processes: processes.to_vec() };
            Facts { units: vec![unit], ..facts(vec![member(5, 2), member(6, 0), process(7, 10, 3)]) }
        };
        let whole_group = Options { whole_group: true, ..Options::default() };
        assert_eq!(chosen(&grouped(false, &[5, 6]), &Options::default()).unwrap(), [7]);
        assert_eq!(chosen(&grouped(true, &[5, 6]), &Options::default()).unwrap(), [5, 6], "2 MiB/s × 20 MiB");
        assert_eq!(chosen(&grouped(false, &[5, 6]), &whole_group).unwrap(), [5, 6]);
        for other in [[5, 6, 99], [5, 6, 0]] {
            assert_eq!(
                chosen(&grouped(true, &other), &Options::default()).unwrap(),
                [7],
                "not all are the target's"
            );
        }
        let mut exempt = grouped(true, &[5, 6]);
        exempt.processes[1].oom_score_adj = Some(-1000);
        assert_eq!(chosen(&exempt, &Options::default()).unwrap(), [7]);
    }
}
