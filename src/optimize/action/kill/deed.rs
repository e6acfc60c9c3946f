//! The end of the chosen: asked, then made, then its memory taken back; and what stands in its place.

use super::Intent;
use crate::host::cgroup::control;
use crate::host::free::Free;
use crate::host::hand::{Hand, HeldProcess};
use crate::host::proc;
use crate::optimize::action::{ActError, Watch};
use rustix::process::Signal;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks whether a process has ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Below this part of all memory there is no time to ask.
const SCARCE_PART: u64 = 33;
/// How long the kernel may take to end a process that has got SIGKILL.
const END_MAX: Duration = Duration::from_secs(1);
/// How soon a supervisor has started another in its place, for what is worth a note.
const SUCCESSOR_AFTER: Duration = Duration::from_millis(250);

/// A process that is to end.
struct Victim<'a> {
    held: HeldProcess,
    start_ticks: u64,
    comm: &'a str,
    parent: u32,
}

impl Victim<'_> {
    fn failed(&self, what: &str, e: &io::Error) -> ActError {
        ActError::Failed(format!("{what} of process {} ({:?}): {e}", self.held.pid(), self.comm))
    }

    fn has_ended(&self) -> Result<bool, ActError> {
        self.held.ends_within(Duration::ZERO).map_err(|e| self.failed("the handle", &e))
    }
}

/// Ends what the intent names.
pub(super) fn end(intent: &Intent, hand: &mut Hand, watch: &Watch<'_>) -> Result<String, ActError> {
    let mut victims = Vec::new();
    for (pid, start_ticks, comm) in &intent.processes {
        let Some(held) = hand.hold(*pid, *start_ticks)? else { continue };
        let Some(stat) = proc::stat_of(hand.host(), *pid)? else { continue };
        victims.push(Victim { held, start_ticks: *start_ticks, comm, parent: stat.parent });
    }
    let names = names(intent);
    if victims.is_empty() {
        return Ok(format!("{names} had ended before"));
    }
    let since = proc::uptime_ticks(hand.host());
    let asked = ask(&victims, Duration::from_millis(intent.grace_millis), hand, watch)?;
    if let Asked::Held(why) = asked {
        return Ok(format!("{names} got SIGTERM and no more: {why}"));
    }
    let ended_by = if matches!(asked, Asked::Ended) {
        "ended by SIGTERM".to_owned()
    } else {
        let hurry = if matches!(asked, Asked::Hurry) { ", at once, for memory is scarce" } else { "" };
        make(intent, &victims, hand)? + hurry
    };
    let mut note = format!("{names} {ended_by}: {}", intent.why);
    for victim in &victims {
        if !victim.held.ends_within(END_MAX.min(watch.left())).map_err(|e| victim.failed("the handle", &e))? {
            note += &left_over(victim, hand)?;
        }
    }
    std::thread::sleep(SUCCESSOR_AFTER.min(watch.left()));
    note += &successors(&victims, since, hand)?;
    Ok(note)
}

fn names(intent: &Intent) -> String {
    match (&intent.group, intent.processes.first()) {
        (Some(group), _) => format!("{} with {} processes", group.display(), intent.processes.len()),
        (None, Some((pid, _, comm))) => format!("process {pid} ({comm:?})"),
        (None, None) => "nobody".to_owned(),
    }
}

/// What came of asking.
enum Asked {
    /// All have ended.
    Ended,
    /// Some have not.
    Alive,
    /// Some have not, and there is no time.
    Hurry,
    /// Somebody says stop.
    Held(String),
}

/// SIGTERM, and time to end by oneself, as long as there is memory for that.
fn ask(
    victims: &[Victim<'_>],
    grace: Duration,
    hand: &mut Hand,
    watch: &Watch<'_>,
) -> Result<Asked, ActError> {
    if grace.is_zero() {
        return Ok(Asked::Alive);
    }
    if is_scarce(hand)? {
        return Ok(Asked::Hurry);
    }
    for victim in victims {
        gone_is_fine(hand.signal(&victim.held, Signal::TERM)).map_err(|e| victim.failed("SIGTERM", &e))?;
    }
    let deadline = Instant::now() + grace;
    loop {
        let mut ended = true;
        for victim in victims {
            ended &= victim.has_ended()?;
        }
        if ended {
            return Ok(Asked::Ended);
        }
        if Instant::now() >= deadline {
            return Ok(Asked::Alive);
        }
        if is_scarce(hand)? {
            return Ok(Asked::Hurry);
        }
        if let Some(why) = watch.sleep(LOOK_EVERY) {
            return Ok(Asked::Held(why));
        }
    }
}

fn is_scarce(hand: &Hand) -> Result<bool, ActError> {
    let free = Free::read(hand.host())?;
    Ok(free.available_bytes < free.total_bytes / SCARCE_PART)
}

/// SIGKILL, to the whole group by the kernel's own switch if it is a group; and the memory back, which otherwise waits
/// until a process without processor time gets to run.
fn make(intent: &Intent, victims: &[Victim<'_>], hand: &mut Hand) -> Result<String, ActError> {
    if let Some(group) = &intent.group {
        nobody_else(group, victims, hand)?;
        let switch = group.join("cgroup.kill");
        let failed = |e| ActError::Failed(format!("cannot write {}: {e}", switch.display()));
        hand.write(&switch, "1").map_err(failed)?;
    } else {
        for victim in victims {
            gone_is_fine(hand.signal(&victim.held, Signal::KILL))
                .map_err(|e| victim.failed("SIGKILL", &e))?;
        }
    }
    let begun = Instant::now();
    let mut released = true;
    for victim in victims {
        let mut answer = hand.release_memory(&victim.held);
        while answer.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::Interrupted || is_again(e))
            && begun.elapsed() < END_MAX
        {
            answer = hand.release_memory(&victim.held);
        }
        // Whoever has ended before has given all back.
        released &= gone_is_fine(answer).is_ok();
    }
    let back = begun.elapsed().as_millis();
    Ok(if released {
        format!("ended by SIGKILL, its memory taken back in {back} ms")
    } else {
        "ended by SIGKILL; its memory comes back as it ends".to_owned()
    })
}

/// A group is ended whole only while all that is in it was in it, or was started by what was.
fn nobody_else(group: &Path, victims: &[Victim<'_>], hand: &Hand) -> Result<(), ActError> {
    let mut known: Vec<u32> = victims.iter().map(|v| v.held.pid()).collect();
    let since = victims.iter().map(|v| v.start_ticks).max().unwrap_or(0);
    for pid in control::processes(group)? {
        if known.contains(&pid) {
            continue;
        }
        let stat = proc::stat_of(hand.host(), pid)?;
        match stat {
            Some(stat) if known.contains(&stat.parent) && stat.start_ticks >= since => known.push(pid),
            None if pid != 0 => {}
            _ => {
                let why = format!("process {pid} came into {} since it was looked at", group.display());
                return Err(ActError::Failed(why));
            }
        }
    }
    Ok(())
}

/// Why a process is there still.
fn left_over(victim: &Victim<'_>, hand: &Hand) -> Result<String, ActError> {
    let pid = victim.held.pid();
    let stat = proc::stat_of(hand.host(), pid)?.filter(|s| s.start_ticks == victim.start_ticks);
    let Some(stat) = stat else { return Ok(String::new()) };
    Ok(match stat.state {
        'Z' | 'X' | 'x' => format!("; process {pid} is a zombie that has threads still"),
        'D' => format!("; process {pid} waits in the kernel (state D) and ends when that lets it go"),
        state => format!("; process {pid} has not ended yet (state {state})"),
    })
}

/// Those that were started in the place of the ended ones.
fn successors(victims: &[Victim<'_>], since: u64, hand: &Hand) -> Result<String, ActError> {
    for pid in proc::pids(hand.host())? {
        let Some(stat) = proc::stat_of(hand.host(), pid).ok().flatten() else { continue };
        let same = |v: &&Victim<'_>| v.comm == stat.comm && v.parent == stat.parent;
        let known = victims.iter().any(|v| v.held.pid() == pid && v.start_ticks == stat.start_ticks);
        let young = stat.state != 'Z' && !known && stat.start_ticks >= since;
        if let Some(victim) = victims.iter().find(same).filter(|_| young) {
            return Ok(format!("; process {pid} ({:?}) was started in its place", victim.comm));
        }
    }
    Ok(String::new())
}

/// A process that has ended needs nothing any more.
fn gone_is_fine(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

fn is_again(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EAGAIN)
}
