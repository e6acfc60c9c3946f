//! Child processes that are kept running: started, logged, restarted with growing waits, stopped in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The waits between restarts grow from the first to the second.
const RESTART_MIN: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_mins(1);
/// A child that ran so long is healthy: its next restart does not wait long.
const HEALTHY: Duration = Duration::from_mins(1);
/// A child has so long to end before it is killed.
const STOP: Duration = Duration::from_secs(4);

/// A program to keep running.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in the log.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// The first of `names` that is an executable on the PATH.
pub fn find(names: &[&str], path: &std::ffi::OsStr) -> Option<PathBuf> {
    let runs = |p: &Path| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let places: Vec<PathBuf> = std::env::split_paths(path).collect();
    names.iter().flat_map(|name| places.iter().map(move |d| d.join(name))).find(|p| runs(p))
}

impl Program {
    /// Keeps the program running until `stop` becomes true, then ends it.
    pub async fn keep(self, mut stop: watch::Receiver<bool>) {
        let mut wait = RESTART_MIN;
        while !*stop.borrow() {
            let begun = Instant::now();
            let mut child = match self.start() {
                Ok(child) => child,
                Err(e) => {
                    tracing::error!(program = self.name, path = %self.path.display(), error = %e, "cannot start");
                    if pause(wait, &mut stop).await {
                        return;
                    }
                    wait = (wait * 2).min(RESTART_MAX);
                    continue;
                }
            };
            tracing::info!(program = self.name, pid = child.id(), log = %self.log.display(), "started");
            let ended = tokio::select! {
                ended = child.wait() => Some(ended),
                _ = stop.wait_for(|s| *s) => None,
            };
            let Some(ended) = ended else {
                self.end(child).await;
                return;
            };
            let status = ended.map_or_else(|e| e.to_string(), |s| s.to_string());
            if begun.elapsed() > HEALTHY {
                wait = RESTART_MIN;
            }
            tracing::error!(
                program = self.name, status, again_in = %humantime::format_duration(wait), log = %self.log.display(),
                "ended; it is started again"
            );
            if pause(wait, &mut stop).await {
                return;
            }
            wait = (wait * 2).min(RESTART_MAX);
        }
    }

    fn start(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.path);
        crate::sys::end_with_parent(command.as_std_mut());
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            // Ctrl-C in a terminal reaches the whole foreground group; the order of the end is ours to choose.
            .process_group(0)
            .spawn()
    }

    async fn end(&self, mut child: Child) {
        let pid = child.id().and_then(|p| i32::try_from(p).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(Err(e)) = pid.map(|p| rustix::process::kill_process(p, rustix::process::Signal::TERM)) {
            tracing::warn!(program = self.name, error = %e, "cannot send SIGTERM");
        }
        if tokio::time::timeout(STOP, child.wait()).await.is_err() {
            tracing::warn!(program = self.name, "did not end in time and is killed");
            if let Err(e) = child.kill().await {
                tracing::warn!(program = self.name, error = %e, "cannot be killed");
            }
        }
    }
}

/// Waits; true if the process is to stop.
async fn pause(wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => false,
        _ = stop.wait_for(|s| *s) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_in_the_order_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        file("plain", 0o644);
        let second = file("second", 0o755);
        let path = std::env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
        assert_eq!(find(&["first", "plain", "second"], &path), Some(second));
        assert_eq!(find(&["first"], &path), None);
    }
}
