//! The kernel reclaims from one control group: `memory.reclaim` (v2), or a limit lowered for a moment (v1).
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

use super::{ActError, Action, Plan, Refusal, Scene, intent};
use crate::host::hand::Hand;
use crate::host::{HostError, read_once};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What one write asks for. A large one blocks for seconds under load, and cannot be stopped.
const CHUNK_BYTES: u64 = 16 << 20;
/// All writes together take no longer than this, by more than one chunk.
const TIME_MAX: Duration = Duration::from_secs(10);
/// A write that moves less than this share of a chunk shows that there is no more to take.
const PROGRESS_SHARE: u64 = 8;

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
        // Version 1 has no call for this: its limit is lowered only over page cache, which can always be given
        // up, so that the group cannot run into it.
        let takable =
            if group.version == 1 { takable.min(group.inactive_file_bytes.unwrap_or(0)) } else { takable };
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

    fn execute(&self, plan: &Value, hand: &mut Hand) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let begun = Instant::now();
        let start = usage(&intent)?;
        let (mut taken, mut file_only, mut why) = (0, true, "as much as was asked for");
        while taken < intent.bytes {
            let now = usage(&intent)?;
            let room = now.saturating_sub(intent.floor_bytes);
            let chunk = CHUNK_BYTES.min(intent.bytes - taken).min(room);
            if begun.elapsed() > TIME_MAX || chunk == 0 {
                why = if chunk == 0 { "down to the group's protection" } else { "until the time was over" };
                break;
            }
            let answer = if intent.version == 2 {
                reclaim(hand, &intent.directory, chunk, &mut file_only)
            } else {
                lower(hand, &intent, now.saturating_sub(chunk))
            };
            // EAGAIN (v2) and EBUSY (v1): the kernel took less than it was asked for. That is progress, or the end.
            match answer {
                Ok(()) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::EINTR)) => {}
                Err(e) => return Err(HostError::read(&intent.directory, e).into()),
            }
            let after = usage(&intent)?;
            if now.saturating_sub(after) < chunk / PROGRESS_SHARE {
                if intent.version == 2 && file_only {
                    file_only = false;
                    continue;
                }
                why = "until nothing more came";
                break;
            }
            taken = start.saturating_sub(after);
        }
        Ok(format!("reclaimed {taken} bytes of {} from the group, {why}", intent.bytes))
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
        restore(hand, &intent).map_err(|e| HostError::read(&path, e))?;
        Ok(Some(format!("the limit of {} was {now} bytes and is as before", intent.directory.display())))
    }
}

fn usage(intent: &Intent) -> Result<u64, ActError> {
    let name = if intent.version == 2 { "memory.current" } else { "memory.usage_in_bytes" };
    let path = intent.directory.join(name);
    let text = read_once(&path)?.ok_or_else(|| ActError::Failed("the group has gone".into()))?;
    text.trim().parse().map_err(|_| ActError::Failed(format!("{} holds no number", path.display())))
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

fn restore(hand: &mut Hand, intent: &Intent) -> io::Result<()> {
    let text = intent.limit_bytes.map_or_else(|| "-1".to_owned(), |l| l.to_string());
    hand.write(&intent.directory.join("memory.limit_in_bytes"), &text)
}
