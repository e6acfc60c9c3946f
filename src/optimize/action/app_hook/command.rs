//! A command that asks the application in its own language: started without a shell, ended as a whole.

use super::{NOTE_CHARS_MAX, Request};
use crate::host::resident;
use crate::optimize::action::Watch;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What is kept of its output.
const OUTPUT_BYTES_MAX: usize = 4096;
/// Where it finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a hook's command: it learns what is asked for from its environment.
pub(super) fn run(
    command: &[String],
    request: &Request,
    timeout: Duration,
    watch: &Watch<'_>,
) -> Result<String, String> {
    let bytes = request.bytes.to_string();
    let mut environment = vec![
        ("HEADROOM_TARGET", request.target.as_str()),
        ("HEADROOM_BYTES", &bytes),
        ("HEADROOM_URGENCY", &request.urgency),
    ];
    environment.extend(request.kind.as_deref().map(|kind| ("HEADROOM_KIND", kind)));
    start(command, &environment, timeout, watch)
}

/// Runs a command to its end, or to the end of its time.
pub(in crate::optimize::action) fn start(
    command: &[String],
    environment: &[(&str, &str)],
    timeout: Duration,
    watch: &Watch<'_>,
) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let failed = |why: String| format!("the command {program}: {why}");
    let io = |e: io::Error| failed(e.to_string());
    let (mut output, writer) = io::pipe().map_err(io)?;
    let flags = fcntl_getfl(&output).map_err(|e| io(e.into()))?;
    fcntl_setfl(&output, flags | OFlags::NONBLOCK).map_err(|e| io(e.into()))?;
    let mut child = Command::new(program);
    // Headroom's own environment may hold what is no command's business.
    child
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().copied())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(writer.try_clone().map_err(io)?)
        .stdout(writer);
    // Neither what the optimizer may, nor how early it has its turn, is the command's.
    resident::be_ordinary(&mut child);
    let mut running = child.spawn().map_err(io)?;
    // Its builder holds the pipe's other end.
    drop(child);
    let mut kept = Vec::new();
    let why = wait(&running, &mut output, &mut kept, timeout, watch);
    let ended = end(&mut running);
    read(&mut output, &mut kept);
    let note: String = String::from_utf8_lossy(&kept).trim().chars().take(NOTE_CHARS_MAX).collect();
    match (why, ended) {
        (Some(why), _) => Err(failed(format!("{why}; its processes were killed, and it had said {note:?}"))),
        (None, Err(e)) => Err(io(e)),
        (None, Ok(status)) if status.success() => Ok(format!("the command says {note:?}")),
        (None, Ok(status)) => Err(failed(format!("ended with {status}, and said {note:?}"))),
    }
}

/// Waits for its end, and leaves it unreaped, so that its group's number stays its own; or says why it is to end now.
fn wait(
    running: &Child,
    output: &mut PipeReader,
    kept: &mut Vec<u8>,
    timeout: Duration,
    watch: &Watch<'_>,
) -> Option<String> {
    let deadline = Instant::now() + timeout;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        read(output, kept);
        match number(running).map(|pid| waitid(WaitId::Pid(pid), options)) {
            Some(Ok(None) | Err(rustix::io::Errno::INTR)) => {}
            Some(Ok(Some(_))) => return None,
            Some(Err(e)) => return Some(e.to_string()),
            None => return Some("it has no number".to_owned()),
        }
        if Instant::now() >= deadline {
            return Some(format!("not done within {}", humantime::format_duration(timeout)));
        }
        if let Some(why) = watch.sleep(LOOK_EVERY) {
            return Some(why);
        }
    }
}

/// Ends what is left of its group, itself included, and takes its status.
fn end(running: &mut Child) -> io::Result<std::process::ExitStatus> {
    if let Some(pid) = number(running) {
        let _nobody_is_left = kill_process_group(pid, Signal::KILL);
    }
    running.wait()
}

/// Takes what it has written, so that it need not wait, and keeps the beginning. Bounded: it may write faster.
fn read(output: &mut PipeReader, kept: &mut Vec<u8>) {
    const READS_MAX: usize = 64;
    let mut part = [0; 4096];
    for _ in 0..READS_MAX {
        match output.read(&mut part) {
            Ok(n) if n > 0 => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(n);
                kept.extend(part.iter().take(room));
            }
            _ => return,
        }
    }
}

fn number(running: &Child) -> Option<Pid> {
    i32::try_from(running.id()).ok().and_then(Pid::from_raw)
}
