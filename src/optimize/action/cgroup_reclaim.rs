//! The kernel reclaims from one control group: `memory.reclaim` (v2), or a limit lowered for a moment (v1).
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

mod brakes;
mod pace;

use super::swapping::{Trial, room};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, intent, options};
use crate::host::hand::{Apart, Hand};
use crate::host::parse::pair_lines;
use crate::host::{Host, beside, may_write, read_once};
use brakes::Brakes;
use bytesize::ByteSize;
use pace::{Pace, Take};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the limit is put back if signals come in between.
const RESTORE_TRIES: usize = 100;

/// Reclaims from the target's control group.
pub struct CgroupReclaim;

/// What a ladder may say about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Page cache alone; nothing goes to swap.
    file_only: bool,
    /// How long one write may take before the run goes on without it.
    #[serde(with = "humantime_serde")]
    deadline: Duration,
    /// The most of what was taken that may be wanted again at once.
    refault_ratio_max: f64,
    /// By how much the share of time in which tasks wait for memory may rise, of the group and of the machine.
    pressure_ratio_max: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file_only: false,
            deadline: Duration::from_secs(1),
            refault_ratio_max: 0.1,
            pressure_ratio_max: 0.3,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Intent {
    version: u8,
    directory: PathBuf,
    bytes: u64,
    /// What the group is promised, and is left with.
    floor_bytes: u64,
    /// Version 1: the limit as found, put back after each chunk and after an interruption.
    limit_bytes: Option<u64>,
    file_only: bool,
    #[serde(with = "humantime_serde")]
    deadline: Duration,
    refault_ratio_max: f64,
    pressure_ratio_max: f64,
}

impl Action for CgroupReclaim {
    fn name(&self) -> &'static str {
        "cgroup_reclaim"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "has the kernel reclaim from the target's control group, page cache first, in small steps; stops when what was taken is wanted again, when tasks stall, or when the machine has less than before",
            cost: "pages that are wanted again are read again, from the disk or from swap",
            capabilities: &[],
            needs: "the right to write the group's memory.reclaim (version 2, kernel 5.19), or its memory.limit_in_bytes (version 1): chown of that one file is enough",
            verified: "the group's memory must fall and the machine's available memory rise",
            undone: "not needed; the limit that is lowered for a moment on version 1 is put back at once, also after a crash",
        }
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let o: Options = options(with)?;
        if ![o.refault_ratio_max, o.pressure_ratio_max].iter().all(|r| (0.0..=1.0).contains(r)) {
            return Err("a ratio is from 0 to 1".to_owned());
        }
        let good = (Duration::from_millis(1)..=self.time_max()).contains(&o.deadline);
        if good { Ok(()) } else { Err(format!("`deadline` is from 1ms to {:?}", self.time_max())) }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let refuse = |why: &str| Refusal(why.to_owned());
        let o: Options = options(scene.with).map_err(Refusal)?;
        let target = scene.before.target.as_ref().ok_or_else(|| refuse("the target is not there"))?;
        let group = target
            .cgroup
            .as_ref()
            .ok_or_else(|| refuse("the target has no control group with a memory controller"))?;
        if scene.target.cgroup.as_deref().is_none_or(|g| g.trim_matches('/').is_empty()) {
            return Err(refuse("the root group is everybody's memory"));
        }
        let swap_free = scene.before.machine.swap_free_bytes;
        if o.file_only && group.version == 1 && swap_free > 0 {
            return Err(refuse("version 1 of control groups cannot be told to leave swap alone"));
        }
        // The kernel does not honour a group's own protection on a write to its own file; we do.
        let takable = group.current_bytes.saturating_sub(group.protected_bytes);
        let swappable = if o.file_only { 0 } else { group.anon_bytes.unwrap_or(0).min(room(swap_free)) };
        // Version 1 has no call for this: its limit is lowered only over what can be taken for sure, so that the
        // group cannot run into it.
        let (version_1, file) = (group.version == 1, group.inactive_file_bytes.unwrap_or(0));
        let rest = if version_1 { file } else { takable.saturating_sub(group.anon_bytes.unwrap_or(0)) };
        let takable = takable.min(rest.saturating_add(swappable));
        if takable == 0 {
            return Err(refuse("the group has nothing above its protection that can be taken"));
        }
        let intent = Intent {
            version: group.version,
            directory: PathBuf::from(&group.directory),
            bytes: scene.want_bytes.min(takable),
            floor_bytes: group.protected_bytes,
            limit_bytes: group.limit_bytes,
            file_only: o.file_only,
            deadline: o.deadline,
            refault_ratio_max: o.refault_ratio_max,
            pressure_ratio_max: o.pressure_ratio_max,
        };
        Plan::new(Some(takable), &intent)
    }

    fn permit(&self, plan: &Value, _: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let file = intent.file();
        may_write(&file).map_err(|e| {
            let path = file.display();
            Refusal(match e.kind() {
                io::ErrorKind::NotFound => format!("there is no {path}: the kernel has it since 5.19"),
                io::ErrorKind::PermissionDenied => {
                    format!("no right to write {path}: `chown` this one file to the user of the optimizer")
                }
                _ => format!("{path} cannot be written: {e}"),
            })
        })
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let mut apart = hand.apart(&intent.file()).map_err(|e| refused(&intent, &e))?.ok_or_else(|| {
            ActError::Failed(format!("an earlier write to {} has not returned", intent.file().display()))
        })?;
        let (taken, why) = intent.take(&mut apart, hand.host(), watch)?;
        let [taken, asked] = [taken, intent.bytes].map(|b| ByteSize::b(b).display().iec());
        Ok(format!("reclaimed {taken} of {asked} from the group, {why}"))
    }

    fn undo(&self, plan: &Value, hand: &mut Hand) -> Result<Option<String>, ActError> {
        let intent: Intent = intent(plan)?;
        if intent.version != 1 {
            return Ok(None);
        }
        let path = intent.directory.join("memory.limit_in_bytes");
        let Some(now) = read_once(&path)?.and_then(|t| t.trim().parse::<u64>().ok()) else { return Ok(None) };
        let before = intent.limit_bytes.unwrap_or(u64::MAX);
        if now >= before || intent.limit_bytes.is_none() && now > u64::MAX / 4 {
            return Ok(None);
        }
        restore(hand, &intent).map_err(|e| refused(&intent, &e))?;
        Ok(Some(format!("the limit of {} was {now} bytes and is as before", intent.directory.display())))
    }
}

impl Intent {
    /// The file that is written to.
    fn file(&self) -> PathBuf {
        self.directory.join(if self.version == 2 { "memory.reclaim" } else { "memory.limit_in_bytes" })
    }

    /// Takes chunk after chunk; how much the kernel took, and why it ended.
    fn take(&self, apart: &mut Apart, host: &Host, watch: &Watch<'_>) -> Result<(u64, String), ActError> {
        let (trial, brakes) = (Trial::begin(host)?, Brakes::begin(host, &self.directory)?);
        let first = if self.version == 2 { Take::File } else { Take::Any };
        let mut pace = Pace::begin(first, self.file_only);
        let mut taken = 0_u64;
        // The write before: what the group held, what it asked for, whether the kernel took all of that, and its time.
        let mut last: Option<(u64, u64, bool, Duration)> = None;
        let why = loop {
            let Some(now) = self.usage()? else { break "until the group has gone".to_owned() };
            if let Some((was, chunk, whole, took)) = last.take() {
                // The kernel takes a little more than it is asked for; a group that grows meanwhile hides what was taken.
                let moved = was.saturating_sub(now).max(if whole { chunk } else { 0 });
                taken = taken.saturating_add(moved);
                if !pace.learn(chunk, moved, took) {
                    break "until nothing more came".to_owned();
                }
            }
            let asked = self.bytes.saturating_sub(taken);
            let above = now.saturating_sub(self.floor_bytes);
            if let Some(end) = end(asked, above) {
                break end.to_owned();
            }
            if let Some(why) = watch.end() {
                break format!("until {why}");
            }
            if let Some(why) =
                trial.futile(host)?.map_or_else(|| brakes.stop(host, self, taken), |w| Ok(Some(w)))?
            {
                break why;
            }
            let Some(chunk) = pace.next(asked.min(above), || self.inactive_file()) else {
                break "until no more page cache was there".to_owned();
            };
            let begun = Instant::now();
            let Some(answer) = self.write(apart, chunk, now, pace.take) else {
                let (chunk, deadline) = (ByteSize::b(chunk).display().iec(), self.deadline);
                break format!(
                    "until a write of {chunk} had not returned after {deadline:?}; it is left to end by itself"
                );
            };
            let took = begun.elapsed();
            match answer {
                Ok(()) => last = Some((now, chunk, true, took)),
                // The kernel took less than it was asked for (v2, v1). That is progress, or the end.
                Err(e) if is(&e, &[libc::EAGAIN, libc::EBUSY]) => last = Some((now, chunk, false, took)),
                Err(e) if is(&e, &[libc::EINVAL]) && pace.take == Take::File => pace.not_told(),
                // A signal for another thread of ours, or a group that is being removed: the next look tells.
                Err(e) if is(&e, &[libc::EINTR, libc::ENODEV]) => {}
                Err(e) if is(&e, &[libc::ENOENT]) && !self.directory.exists() => {}
                Err(e) => return Err(refused(self, &e)),
            }
        };
        Ok((taken, why))
    }

    /// Has the kernel take `chunk` bytes of the `now` that the group holds; `None` if that did not end in time.
    fn write(&self, apart: &mut Apart, chunk: u64, now: u64, take: Take) -> Option<io::Result<()>> {
        let intent = self.clone();
        let work = move |hand: &mut Hand| {
            let near = beside::of_group(hand.host(), &intent.directory);
            beside::on(near, || intent.once(hand, chunk, now, take))
        };
        apart.run(self.deadline, work)
    }

    fn once(&self, hand: &mut Hand, chunk: u64, now: u64, take: Take) -> io::Result<()> {
        // On version 1 the thread that lowers the limit puts it back: until the kernel has taken what it is to take, the
        // limit is as it was, so that a write that is late lowers nothing.
        match self.version {
            2 => reclaim(hand, &self.directory, chunk, take),
            _ => lower(hand, self, now.saturating_sub(chunk)),
        }
    }

    /// What the group holds; `None` if it has gone.
    fn usage(&self) -> Result<Option<u64>, ActError> {
        let name = if self.version == 2 { "memory.current" } else { "memory.usage_in_bytes" };
        let path = self.directory.join(name);
        let Some(text) = read_once(&path)? else { return Ok(None) };
        let bytes = text.trim().parse();
        bytes.map(Some).map_err(|_| ActError::Failed(format!("{} holds no number", path.display())))
    }

    /// Page cache of the group (version 2) that is not in use; 0 where the kernel does not say.
    fn inactive_file(&self) -> u64 {
        let text = read_once(&self.directory.join("memory.stat")).ok().flatten().unwrap_or_default();
        pair_lines(&text).flatten().find_map(|(n, v)| (n == "inactive_file").then_some(v)).unwrap_or(0)
    }
}

/// Why the action ends here: what is still asked for, and what the group holds above its floor; `None` while it goes on.
fn end(asked: u64, above: u64) -> Option<&'static str> {
    match (asked, above) {
        (0, _) => Some("as much as was asked for"),
        (_, 0) => Some("down to the group's protection"),
        _ => None,
    }
}

fn is(e: &io::Error, codes: &[i32]) -> bool {
    e.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn refused(intent: &Intent, e: &io::Error) -> ActError {
    ActError::Failed(format!("the kernel does not reclaim from {}: {e}", intent.directory.display()))
}

/// One write to `memory.reclaim`.
fn reclaim(hand: &mut Hand, directory: &Path, bytes: u64, take: Take) -> io::Result<()> {
    let path = directory.join("memory.reclaim");
    match take {
        Take::File => hand.write(&path, &format!("{bytes} swappiness=0")),
        Take::InactiveFile | Take::Any => hand.write(&path, &bytes.to_string()),
    }
}

/// Lowers the limit, which makes the kernel reclaim, and puts it back at once, whatever came of it.
fn lower(hand: &mut Hand, intent: &Intent, to: u64) -> io::Result<()> {
    let answer = hand.write(&intent.directory.join("memory.limit_in_bytes"), &to.to_string());
    restore(hand, intent)?;
    answer
}

/// The kernel gives up at a signal for any reason, and a limit that stayed low would end in a kill.
fn restore(hand: &mut Hand, intent: &Intent) -> io::Result<()> {
    let text = intent.limit_bytes.map_or_else(|| "-1".to_owned(), |l| l.to_string());
    let path = intent.directory.join("memory.limit_in_bytes");
    let mut answer = hand.write(&path, &text);
    for _ in 0..RESTORE_TRIES {
        match answer {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => answer = hand.write(&path, &text),
            other => return other,
        }
    }
    answer
}
