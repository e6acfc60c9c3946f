//! Priorities taken, and put back to what they were where they are still what was set.

use super::{Intent, Process, io_milder, nicer};
use crate::host::hand::{Hand, HeldProcess};
use crate::host::task::{Thread, threads_of};
use crate::host::{HostError, proc, read_once};
use crate::optimize::action::{ActError, Watch};
use crate::optimize::observe::facts::THREADS_MAX;
use std::io;

/// Takes priority from all that the intent names.
pub(super) fn set(intent: &Intent, hand: &mut Hand, watch: &Watch<'_>) -> Result<String, ActError> {
    let (mut changed, mut processes) = (0, 0);
    let mut note = String::new();
    if let Some(group) = &intent.group {
        let failed = |e| ActError::Failed(format!("cannot write {}: {e}", group.file.display()));
        hand.write(&group.file, &group.set.to_string()).map_err(failed)?;
        note = format!("{} from {} to {}", group.file.display(), group.before, group.set);
    }
    for process in &intent.processes {
        if let Some(why) = watch.end() {
            return Ok(join(note, Some(format!("{changed} changes to {processes} processes until {why}"))));
        }
        let Some(held) = hand.hold(process.pid, process.start_ticks)? else { continue };
        let before = changed;
        changed += take(hand, &held, process, intent)?;
        processes += usize::from(changed > before);
    }
    if changed == 0 && intent.group.is_none() {
        return Err(ActError::Failed("nothing was changed: the processes have gone or changed".to_owned()));
    }
    Ok(join(note, (changed > 0).then(|| format!("{changed} changes to {processes} processes"))))
}

fn take(hand: &mut Hand, held: &HeldProcess, process: &Process, intent: &Intent) -> Result<usize, ActError> {
    let wanted = intent.wanted;
    let mut changed = 0;
    if let Some((before, set)) = process.oom_score_adj.zip(wanted.oom_score_adj) {
        changed += exchange_score(hand, held, before, set)?;
    }
    let now = threads_of(hand.host(), process.pid, THREADS_MAX)?;
    for thread in now.iter().filter(|t| process.threads.iter().any(|known| known == *t)) {
        if let Some(nice) = wanted.nice.filter(|_| nicer(thread, wanted)) {
            changed += done(held, hand.set_nice(held, thread.tid, nice))?;
        }
        if let Some(io) = wanted.io.filter(|_| io_milder(thread, wanted)) {
            changed += done(held, hand.set_io_priority(held, thread.tid, io))?;
        }
    }
    Ok(changed)
}

/// Puts all back that is still as it was set; says what.
pub(super) fn put_back(intent: &Intent, hand: &mut Hand) -> Result<Option<String>, ActError> {
    let mut changed = 0;
    let mut note = String::new();
    if let Some(group) = &intent.group
        && read_once(&group.file)?.and_then(|t| t.trim().parse().ok()) == Some(group.set)
    {
        let failed = |e| ActError::Failed(format!("cannot put back {}: {e}", group.file.display()));
        hand.write(&group.file, &group.before.to_string()).map_err(failed)?;
        note = format!("{} is {} again", group.file.display(), group.before);
    }
    for process in &intent.processes {
        let Some(held) = hand.hold(process.pid, process.start_ticks)? else { continue };
        changed += give(hand, &held, process, intent)?;
    }
    for (heir, of) in heirs(intent, hand)? {
        let Some(held) = hand.hold(heir.0, heir.1)? else { continue };
        changed += give(hand, &held, of, intent)?;
    }
    let nothing = changed == 0 && note.is_empty();
    let rest = (changed > 0).then(|| format!("{changed} priorities are as before"));
    Ok((!nothing).then(|| join(note, rest)))
}

/// Gives a process back what `of`, itself or its forebear, had before.
fn give(hand: &mut Hand, held: &HeldProcess, of: &Process, intent: &Intent) -> Result<usize, ActError> {
    let wanted = intent.wanted;
    let mut changed = 0;
    if let Some((before, set)) = of.oom_score_adj.zip(wanted.oom_score_adj) {
        changed += exchange_score(hand, held, set, before)?;
    }
    for thread in threads_of(hand.host(), held.pid(), THREADS_MAX)? {
        let known = |t: &&Thread| (t.tid, t.start_ticks) == (thread.tid, thread.start_ticks);
        // A thread that began since has what its process's first thread before.
        let before = match of.threads.iter().find(known) {
            Some(before) => before,
            None if thread.start_ticks >= intent.at_ticks => match of.threads.first() {
                Some(first) => first,
                None => continue,
            },
            None => continue,
        };
        if wanted.nice.is_some_and(|nice| thread.nice == nice && nicer(before, wanted)) {
            changed += done(held, hand.set_nice(held, thread.tid, before.nice))?;
        }
        if let Some(io) = before.io.filter(|_| thread.io == wanted.io && io_milder(before, wanted)) {
            changed += done(held, hand.set_io_priority(held, thread.tid, io))?;
        }
    }
    Ok(changed)
}

/// Number and start of a process, and the one that it inherited from.
type Heir<'a> = ((u32, u64), &'a Process);

/// Processes that those of the intent have started since, and theirs, with the one that they inherited from. One whose
/// parent has ended has another now, and cannot be told any more.
fn heirs<'a>(intent: &'a Intent, hand: &Hand) -> Result<Vec<Heir<'a>>, HostError> {
    let mut young = Vec::new();
    for pid in proc::pids(hand.host())? {
        if let Some(stat) = proc::stat_of(hand.host(), pid).ok().flatten()
            && stat.start_ticks >= intent.at_ticks
        {
            young.push((pid, stat.start_ticks, stat.parent));
        }
    }
    let mut found: Vec<Heir<'_>> = Vec::new();
    // A child began after its parent, so one pass in that order finds children of children.
    young.sort_by_key(|&(pid, start, _)| (start, pid));
    for (pid, start, parent) in young {
        if intent.processes.iter().any(|p| p.pid == pid) {
            continue;
        }
        let known = intent.processes.iter().find(|p| p.pid == parent);
        let known = known.or_else(|| found.iter().find(|((heir, _), _)| *heir == parent).map(|(_, p)| *p));
        found.extend(known.map(|of| ((pid, start), of)));
    }
    Ok(found)
}

fn join(note: String, rest: Option<String>) -> String {
    match rest {
        None => note,
        Some(rest) if note.is_empty() => rest,
        Some(rest) => format!("{note}; {rest}"),
    }
}

/// Writes a process's oom_score_adj if it is `from`.
fn exchange_score(hand: &mut Hand, held: &HeldProcess, from: i32, to: i32) -> Result<usize, ActError> {
    let path = hand.host().procfs.join(held.pid().to_string()).join("oom_score_adj");
    let now = read_once(&path)?.and_then(|t| t.trim().parse::<i32>().ok());
    if now != Some(from) {
        return Ok(0);
    }
    done(held, hand.write(&path, &to.to_string()))
}

/// 1 for a change, 0 where what was to be changed has gone.
fn done(of: &HeldProcess, answer: io::Result<()>) -> Result<usize, ActError> {
    match answer {
        Ok(()) => Ok(1),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => Ok(0),
        Err(e) => Err(ActError::Failed(format!("priorities of process {}: {e}", of.pid()))),
    }
}
