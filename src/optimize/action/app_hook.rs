//! The application gives memory back by itself, by the way that its hook names.
//!
//! The protocol is in `docs/app-hook.md`. The application's own count is noted and never believed.

pub(super) mod command;
mod http;
mod signal;

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, intent, options};
use crate::host::Host;
use crate::host::hand::{Hand, Told, fifo};
use crate::optimize::policy::hook::{TIMEOUT_MAX, Way};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Above this share of what the target holds, the request is urgent.
const URGENT_SHARE: f64 = 0.5;
/// The longest part of an answer that is kept.
const NOTE_CHARS_MAX: usize = 200;

/// The name in ladders.
pub const NAME: &str = "app_hook";

/// Asks an application to give memory back.
pub struct AppHook;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// The hook of this kind; without it the first.
    kind: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    way: Way,
    timeout_millis: u64,
    request: Request,
    /// Who is to get a signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    receivers: Vec<signal::Receiver>,
}

/// What the application is asked: give back so many bytes, at once or when convenient.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    bytes: u64,
    urgency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    target: String,
}

impl Action for AppHook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "asks the application to give memory back, and lets it choose what",
            cost: "what the application drops it must make or load again: a colder cache, a pause of its collector",
            capabilities: &[],
            needs: "CAP_KILL only for signals to other users' processes, CAP_CHOWN only for a pressure_socket with another owner; a hook in the target's configuration; docs/app-hook.md has the protocol",
            verified: "the target's memory must fall and the machine's available memory rise; the application's own count is noted and never believed",
            undone: "not needed: the application fills up again by itself",
        }
    }

    fn time_max(&self) -> Duration {
        TIMEOUT_MAX
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        options::<Options>(with).map(|_| ())
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let kind = options::<Options>(scene.with).map_err(Refusal)?.kind;
        let hook = scene.target.hook_of(kind.as_deref()).ok_or_else(|| {
            Refusal(match &kind {
                Some(kind) => format!("the target has no hook of the kind {kind} configured"),
                None => "the target has no hook configured".into(),
            })
        })?;
        let way = hook.way().map_err(|(key, why)| Refusal(format!("the hook's {key}: {why}")))?;
        if let Way::PressureSocket(socket) = &way
            && !has_audience(scene, &socket.path)
        {
            return Err(Refusal(format!("no program is connected to {}", socket.path.display())));
        }
        let held = scene.before.target.as_ref().map_or(0, |t| t.bytes);
        let urgent = scene.want_bytes as f64 > held as f64 * URGENT_SHARE;
        let request = Request {
            bytes: scene.want_bytes,
            urgency: if urgent { "high" } else { "low" }.into(),
            kind: hook.kind.clone(),
            target: scene.target.name.clone(),
        };
        let timeout_millis = u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX);
        let receivers = match way {
            Way::Signal { largest, .. } => receivers(scene, largest),
            _ => Vec::new(),
        };
        Plan::new(Some(held), &Intent { way, timeout_millis, request, receivers })
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        let Intent { way, receivers, .. } = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let why = match &way {
            Way::Signal { name, .. } => signal::refusal(name, &receivers, host),
            Way::PressureFifo(path) => fifo(path).err().map(|e| format!("{}: {e}", path.display())),
            _ => None,
        };
        why.map_or(Ok(()), |why| Err(Refusal(why)))
    }

    fn execute(
        &self,
        plan: &Value,
        target: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let Intent { timeout_millis, request, receivers, .. } = intent(plan)?;
        let timeout = Duration::from_millis(timeout_millis);
        // The plan has no whole address.
        let hook = target.hook_of(request.kind.as_deref());
        let hook = hook.ok_or_else(|| ActError::Failed("the target has this hook no longer".to_owned()))?;
        let way = hook.way().map_err(|(key, why)| ActError::Failed(format!("the hook's {key}: {why}")))?;
        match way {
            Way::Http { url, unix, token_file } => {
                let place =
                    http::Place { url: &url, unix: unix.as_deref(), token_file: token_file.as_deref() };
                http::ask(place, &request, timeout, watch)
            }
            Way::Signal { name, .. } => signal::send(&name, &receivers, hand),
            Way::Command(command) => command::run(&command, &request, timeout, watch),
            Way::PressureSocket(socket) => tell(&socket.path, hand),
            Way::PressureFifo(path) => match hand.tell_fifo(&path) {
                Ok(()) => Ok(format!("told of pressure through {}", path.display())),
                Err(e) => Err(format!("{}: {e}", path.display())),
            },
        }
        .map_err(ActError::Failed)
    }
}

/// Whether any program is connected to a socket.
fn has_audience(scene: &Scene<'_>, path: &Path) -> bool {
    scene.before.target.as_ref().is_some_and(|t| t.facts.audience.iter().any(|(p, n)| p == path && *n > 0))
}

/// Gives the word to all programs that are connected to a socket, and says to how many.
fn tell(path: &Path, hand: &mut Hand) -> Result<String, String> {
    let Told { told, deaf, gone } = hand.tell(path);
    let but = |count: usize, what: &str| if count > 0 { format!("; {count} {what}") } else { String::new() };
    let note = format!(
        "{told} connected programs told of pressure at {}{}{}",
        path.display(),
        but(deaf, "read nothing any more"),
        but(gone, "had gone")
    );
    if told > 0 { Ok(note) } else { Err(note) }
}

/// The target's processes, the largest first, and only so many; none that never may be touched.
fn receivers(scene: &Scene<'_>, largest: Option<usize>) -> Vec<signal::Receiver> {
    let sizes = scene.before.target.as_ref().map(|t| t.resident_by_pid.as_slice()).unwrap_or_default();
    let size = |pid: u32| sizes.iter().find(|(p, _)| *p == pid).map_or(0, |(_, bytes)| *bytes);
    let mut members: Vec<_> = scene.members.iter().filter(|m| !m.kernel_thread && m.pid > 1).collect();
    members.sort_by_key(|m| std::cmp::Reverse(size(m.pid)));
    let most = largest.unwrap_or(usize::MAX);
    members
        .into_iter()
        .take(most)
        .map(|m| signal::Receiver { pid: m.pid, start_ticks: m.start_ticks })
        .collect()
}

#[cfg(test)]
mod tests;
