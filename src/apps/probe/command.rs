//! A command that says by its exit code how a component is: without a shell and without rights, ended as a whole.

use super::ask::{Failure, Reason, late};
use crate::client::apart::{Apart, Place};
use crate::sys;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks whether it has ended: at first, and later on.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LATER: Duration = Duration::from_millis(50);
/// What is kept of its output.
const OUTPUT_BYTES_MAX: usize = 4096;
/// So much is read at one look: it may write faster than that.
const READS_MAX: usize = 64;
/// Where it finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a command to its end, or to the end of its time. It has the place of `apart` until it is reaped: while one hangs in
/// the kernel, no other is started.
pub(super) async fn run(
    command: &[String],
    login: Option<(u32, u32)>,
    timeout: Duration,
    apart: &Apart,
) -> Result<(), Failure> {
    let (begun, words) = (Instant::now(), command.to_vec());
    // To start a program takes as long as the disk does on which it is.
    let starting = apart.run(move |place| start(&words, login, place));
    let started = tokio::time::timeout(timeout, starting).await;
    let Ok(started) = started else { return Err(Failure::new(Reason::Timeout, &late(timeout))) };
    let (running, mut output) =
        started.and_then(|started| started).map_err(|e| Failure::new(Reason::Start, &e.to_string()))?;
    let (mut look, mut kept) = (LOOK_FIRST, Vec::new());
    while !running.has_ended() {
        if begun.elapsed() >= timeout {
            return Err(Failure::new(Reason::Timeout, &late(timeout)));
        }
        tokio::time::sleep(look.min(timeout.saturating_sub(begun.elapsed()))).await;
        look = (look * 2).min(LOOK_LATER);
        read(&mut output, &mut kept);
    }
    let status = running.end().map_err(|e| Failure::new(Reason::Exit, &e.to_string()))?;
    read(&mut output, &mut kept);
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&kept);
    Err(Failure::new(Reason::Exit, &status.to_string()).with_words(said.trim()))
}

fn start(command: &[String], login: Option<(u32, u32)>, place: Place) -> io::Result<(Running, PipeReader)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (output, writer) = io::pipe()?;
    let flags = fcntl_getfl(&output)?;
    fcntl_setfl(&output, flags | OFlags::NONBLOCK)?;
    let mut command = Command::new(program);
    sys::child::without_privileges(&mut command, login);
    command
        .args(arguments)
        // Headroom's own environment may hold what is no command's business.
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(writer.try_clone()?)
        .stdout(writer);
    let child = command.spawn()?;
    Ok((Running(Some((child, place))), output))
}

/// A running command, and its place. When it is dropped, for whatever reason, its whole group is killed and it is reaped.
struct Running(Option<(Child, Place)>);

impl Running {
    /// Whether it has ended. It is left unreaped, so that its group's number stays its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match self
            .0
            .as_ref()
            .and_then(|(child, _)| number(child))
            .map(|pid| waitid(WaitId::Pid(pid), options))
        {
            Some(Ok(None) | Err(rustix::io::Errno::INTR)) => false,
            Some(Ok(Some(_)) | Err(_)) | None => true,
        }
    }

    /// Ends what it left behind, and takes its status.
    fn end(mut self) -> io::Result<ExitStatus> {
        let (mut child, _place) = self.0.take().ok_or(io::ErrorKind::NotFound)?;
        kill_group(&child);
        child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((mut child, place)) = self.0.take() else { return };
        kill_group(&child);
        // A process in a call of a dead disk ends only after that; nobody is to wait for it here.
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let reaper = std::thread::Builder::new().name("reaper".into());
            let _unreaped_until_our_end = reaper.spawn(move || {
                let _place = place;
                child.wait()
            });
        }
    }
}

fn kill_group(child: &Child) {
    if let Some(pid) = number(child) {
        let _nobody_is_left = kill_process_group(pid, Signal::KILL);
    }
}

fn number(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Takes what was written, so that the writer need not wait, and keeps the beginning.
fn read(output: &mut PipeReader, kept: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &[&str], timeout: Duration) -> Result<(), Failure> {
        run_at(command, timeout, &Apart::new(1))
    }

    fn run_at(command: &[&str], timeout: Duration, apart: &Apart) -> Result<(), Failure> {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = rustix::process::geteuid().is_root();
        runtime.block_on(super::run(&command, root.then_some((65534, 65534)), timeout, apart))
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn the_exit_code_counts_and_what_was_said_is_told_in_part() {
        assert_eq!(run(&["true"], LONG), Ok(()));
        let failed = run(&["sh", "-c", "echo disk is gone >&2; exit 3"], LONG).unwrap_err();
        assert_eq!(failed.reason, Reason::Exit);
        assert_eq!((failed.why.as_str(), failed.said.as_str()), ("exit status: 3", "disk is gone"));
        let much = run(&["sh", "-c", "yes | head -c 3000000; exit 1"], LONG).unwrap_err();
        assert!(much.reason == Reason::Exit && much.said.len() == 200, "{much:?}");
        assert_eq!(run(&["/nonexistent/program"], LONG).unwrap_err().reason, Reason::Start);
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        // A name that no other process has; the child is another than the shell.
        let mark = format!("4{}", std::process::id());
        let script = format!("sleep {mark} & sleep {mark}; echo");
        let failed = run(&["sh", "-c", &script], Duration::from_millis(300)).unwrap_err();
        assert_eq!(failed.reason, Reason::Timeout);
        let deadline = Instant::now() + LONG;
        let want = format!("sleep\0{mark}\0");
        let left = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            all.filter_map(|e| std::fs::read_to_string(e.path().join("cmdline")).ok()).any(|c| c == want)
        };
        while left() {
            assert!(Instant::now() < deadline, "a child of the command still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn while_one_is_not_reaped_no_other_is_started() {
        let apart = Apart::new(1);
        assert_eq!(run_at(&["true"], LONG, &apart), Ok(()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let words = ["sleep".to_owned(), "1000".to_owned()];
        let (hung, _output) =
            runtime.block_on(apart.run(move |place| start(&words, None, place))).unwrap().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("begun");
        let touch = format!("touch {}", file.display());
        let failed = run_at(&["sh", "-c", &touch], Duration::from_millis(100), &apart).unwrap_err();
        assert_eq!((failed.reason, file.exists()), (Reason::Timeout, false));
        drop(hung);
        assert_eq!(run_at(&["true"], LONG, &apart), Ok(()), "it was killed and reaped");
    }

    #[test]
    fn it_has_no_rights_and_nothing_of_our_environment() {
        let script = "test -z \"$CARGO_MANIFEST_DIR\" && test \"$PWD\" = / && \
                      grep -q '^NoNewPrivs:.1' /proc/self/status && \
                      grep -q '^CapAmb:.0000000000000000' /proc/self/status && \
                      grep -q '^CapEff:.0000000000000000' /proc/self/status && \
                      test $(cat /proc/self/oom_score_adj) -ge 0 && ! test -w /etc/passwd";
        assert_eq!(run(&["sh", "-c", script], LONG), Ok(()));
    }
}
