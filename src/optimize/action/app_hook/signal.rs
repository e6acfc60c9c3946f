//! A signal to processes that have a handler for it. To any other it would be the end, or nothing.

use crate::host::hand::Hand;
use crate::host::{Host, capability, proc};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// A process of the target.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Receiver {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
}

/// The signal of a name, among those that programs take for requests.
pub(super) fn number(name: &str) -> Option<Signal> {
    Some(match name {
        "SIGHUP" => Signal::HUP,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        "SIGWINCH" => Signal::WINCH,
        _ => return None,
    })
}

/// Why none of them may get it, if so.
pub(super) fn refusal(name: &str, receivers: &[Receiver], host: &Host) -> Option<String> {
    let Some(signal) = number(name) else { return Some(format!("{name} is no signal that is sent")) };
    let mut ready = receivers.iter().filter(|r| catches(host, r.pid, signal) == Ok(true)).peekable();
    if ready.peek().is_none() {
        return Some(format!(
            "no process of the target has a handler for {name}; without one it would end it"
        ));
    }
    if capability::has(host, capability::KILL) || ready.any(|r| !capability::is_foreign(host, r.pid)) {
        return None;
    }
    Some(format!("all processes that take {name} are other users', and CAP_KILL is missing"))
}

/// Sends it to all that catch it, and says to how many.
pub(super) fn send(name: &str, receivers: &[Receiver], hand: &mut Hand) -> Result<String, String> {
    let signal = number(name).ok_or_else(|| format!("{name} is no signal that is sent"))?;
    let (mut sent, mut deaf, mut failures) = (0_usize, 0_usize, Vec::new());
    for receiver in receivers {
        // Held first, then looked at: what is read by number is this process, or it has ended and gets nothing.
        match one(signal, receiver, hand) {
            Ok(Some(true)) => sent += 1,
            Ok(Some(false)) => deaf += 1,
            Ok(None) => {}
            Err(why) => failures.push(format!("process {}: {why}", receiver.pid)),
        }
    }
    let deaf = if deaf > 0 { format!("; {deaf} without a handler left alone") } else { String::new() };
    let failed =
        failures.first().map_or_else(String::new, |first| format!("; {} failed, {first}", failures.len()));
    let note = format!("{name} sent to {sent} of {} processes{deaf}{failed}", receivers.len());
    if sent > 0 { Ok(note) } else { Err(note) }
}

/// Whether it was sent; `None` if the process has gone.
fn one(signal: Signal, receiver: &Receiver, hand: &mut Hand) -> Result<Option<bool>, String> {
    let held = hand.hold(receiver.pid, receiver.start_ticks).map_err(|e| e.to_string())?;
    let Some(held) = held else { return Ok(None) };
    if !catches(hand.host(), receiver.pid, signal)? {
        return Ok(Some(false));
    }
    match hand.signal(&held, signal) {
        Ok(()) => Ok(Some(true)),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

/// Whether a process has a handler for it. What the kernel does not say counts as none.
fn catches(host: &Host, pid: u32, signal: Signal) -> Result<bool, String> {
    let status = proc::status_of(host, pid).map_err(|e| e.to_string())?;
    let bit = u32::try_from(signal.as_raw() - 1).ok().and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0);
    Ok(status.and_then(|s| s.caught_signals).is_some_and(|set| set & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_capability_other_users_processes_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { procfs: dir.path().into(), ..Host::default() };
        let own = rustix::process::geteuid().as_raw();
        let put = |name: &str, text: String| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("status"), text).unwrap();
        };
        // SIGUSR2 is 12, its bit 0x800.
        for (pid, uid) in [("7", own + 1), ("8", own)] {
            put(
                pid,
                format!(
                    "Name:\tx\nState:\tS (sleeping)\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nSigCgt:\t0000000000000800\n"
                ),
            );
        }
        let receiver = |pid| Receiver { pid, start_ticks: 1 };
        let why = |receivers: &[Receiver]| refusal("SIGUSR2", receivers, &host);
        put("self", "CapEff:\t0000000000000000\n".into());
        assert!(why(&[receiver(7)]).unwrap().contains("CAP_KILL is missing"));
        assert_eq!(why(&[receiver(7), receiver(8)]), None);
        assert!(refusal("SIGHUP", &[receiver(8)], &host).unwrap().contains("no process of the target"));
        put("self", "CapEff:\t0000000000000020\n".into());
        assert_eq!(why(&[receiver(7)]), None);
    }
}
