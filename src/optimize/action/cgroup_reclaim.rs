//! The kernel reclaims from one control group: `memory.reclaim` (v2), or a limit lowered for a moment (v1).
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

use super::swapping::{Trial, room};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Watch, intent};
use crate::host::hand::Hand;
use crate::host::read_once;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// What one write asks for. A large one blocks for seconds under load, and cannot be stopped.
const CHUNK_BYTES: u64 = 16 << 20;
/// A write that moves less than this share of a chunk shows that there is no more to take.
const PROGRESS_SHARE: u64 = 8;
/// How often the limit is put back if signals come in between.
const RESTORE_TRIES: usize = 100;

/// Reclaims from the target's control group.
pub struct CgroupReclaim;

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    version: u8,
    directory: PathBuf,
    bytes: u64,
    /// What the group is promised, and is left with.
    floor_bytes: u64,
    /// Version 1: the limit as found, put back after each chunk and after an interruption.
    limit_bytes: Option<u64>,
}

impl Action for CgroupReclaim {
    fn name(&self) -> &'static str {
        "cgroup_reclaim"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "has the kernel reclaim from the target's control group, page cache first, in small steps",
            cost: "pages that are wanted again are read again, from the disk or from swap",
            capabilities: &[],
            needs: "the right to write the group's memory.reclaim (version 2), or its memory.limit_in_bytes (version 1)",
            verified: "the group's memory must fall and the machine's available memory rise",
            undone: "not needed; the limit that is lowered for a moment on version 1 is put back at once, also after a crash",
        }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let refuse = |why: &str| Refusal(why.to_owned());
        let target = scene.before.target.as_ref().ok_or_else(|| refuse("the target is not there"))?;
        let group = target
            .cgroup
            .as_ref()
            .ok_or_else(|| refuse("the target has no control group with a memory controller"))?;
        if scene.target.cgroup.as_deref().is_none_or(|g| g.trim_matches('/').is_empty()) {
            return Err(refuse("the root group is everybody's memory"));
        }
        // The kernel does not honour a group's own protection on a write to its own file; we do.
        let takable = group.current_bytes.saturating_sub(group.protected_bytes);
        let swappable = group.anon_bytes.unwrap_or(0).min(room(scene.before.machine.swap_free_bytes));
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
        };
        Plan::new(Some(takable), &intent)
    }

    fn execute(&self, plan: &Value, hand: &mut Hand, watch: &Watch<'_>) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let trial = Trial::begin(hand.host())?;
        let mut file_only = intent.version == 2;
        let (mut start, mut last, mut taken) = (None, None, 0);
        let why = loop {
            let Some(now) = usage(&intent)? else { break "until the group has gone".to_owned() };
            taken = start.get_or_insert(now).saturating_sub(now);
            // The chunk before this one, and what came of it.
            if last
                .take()
                .is_some_and(|(was, chunk): (u64, u64)| was.saturating_sub(now) < chunk / PROGRESS_SHARE)
            {
                if !file_only {
                    break "until nothing more came".to_owned();
                }
                file_only = false;
            }
            let asked = intent.bytes.saturating_sub(taken);
            let chunk = CHUNK_BYTES.min(asked).min(now.saturating_sub(intent.floor_bytes));
            if let Some(end) = end(asked, chunk) {
                break end.to_owned();
            }
            if let Some(why) = watch.end() {
                break format!("until {why}");
            }
            if let Some(why) = trial.futile(hand.host())? {
                break why;
            }
            let answer = match intent.version {
                2 => reclaim(hand, &intent.directory, chunk, &mut file_only),
                _ => lower(hand, &intent, now.saturating_sub(chunk)),
            };
            match answer {
                Ok(()) => last = Some((now, chunk)),
                // The kernel took less than it was asked for (v2, v1). That is progress, or the end.
                Err(e) if is(&e, &[libc::EAGAIN, libc::EBUSY]) => last = Some((now, chunk)),
                // A signal for another thread of ours, or a group that is being removed: the next look tells.
                Err(e) if is(&e, &[libc::EINTR, libc::ENODEV]) => {}
                Err(e) if is(&e, &[libc::ENOENT]) && !intent.directory.exists() => {}
                // ENOENT beside a group that is there: a kernel before 5.19 has no memory.reclaim.
                Err(e) => return Err(refused(&intent, &e)),
            }
        };
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

/// Why the action ends here, before a chunk of this size; `None` while it goes on.
fn end(asked: u64, chunk: u64) -> Option<&'static str> {
    match (asked, chunk) {
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

/// What the group holds; `None` if it has gone.
fn usage(intent: &Intent) -> Result<Option<u64>, ActError> {
    let name = if intent.version == 2 { "memory.current" } else { "memory.usage_in_bytes" };
    let path = intent.directory.join(name);
    let Some(text) = read_once(&path)? else { return Ok(None) };
    let bytes = text.trim().parse();
    bytes.map(Some).map_err(|_| ActError::Failed(format!("{} holds no number", path.display())))
}

/// One write to `memory.reclaim`; page cache first where the kernel can be told so (6.11 and later).
fn reclaim(hand: &mut Hand, directory: &Path, bytes: u64, file_only: &mut bool) -> io::Result<()> {
    let path = directory.join("memory.reclaim");
    if *file_only {
        match hand.write(&path, &format!("{bytes} swappiness=0")) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => *file_only = false,
            answer => return answer,
        }
    }
    hand.write(&path, &bytes.to_string())
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
