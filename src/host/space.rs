//! How full file systems are, asked by a thread of its own: a mount whose server is gone answers never.

use super::counted::{self, Cost};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the mounts that follow a hanging one get once the time is over: the caller does not wait the whole time for each.
const GRACE: Duration = Duration::from_millis(250);

/// How full a file system is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What is free, in bytes.
    pub free_bytes: u64,
    /// What is free for users without privileges, in bytes.
    pub available_bytes: u64,
    /// How many files it can hold.
    pub files: u64,
    /// How many more files it can hold.
    pub files_free: u64,
}

/// What became of the question about one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel's answer.
    Space(Space),
    /// The kernel's refusal.
    Refused(String),
    /// There was no answer in time, now or earlier, and there is none yet.
    Stuck,
}

/// Asks one mount.
type Ask = fn(&Path) -> io::Result<Space>;

/// Asks mounts how full they are, and leaves alone those that do not answer until they do.
#[derive(Debug)]
pub struct Spaces {
    ask: Ask,
    patience: Duration,
    worker: Option<Arc<Shared>>,
    stuck: Vec<(PathBuf, Arc<Shared>)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    paths: Option<Arc<[PathBuf]>>,
    from: usize,
    answers: Vec<Answer>,
    /// What the answers cost the thread, and nobody took over yet.
    cost: Cost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Asking,
    /// Nobody waits any more: the thread ends with the answer that it waits for.
    Abandoned,
    Ended,
}

/// Kinds of file systems that know how full they are without asking a disk or a server.
const AT_ONCE: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs"];
/// Kinds below which such a file system is found without asking anybody.
const ON_THE_WAY: [&str; 8] =
    ["proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "mqueue"];

/// Whether a file system of the kind `fs_type` at `path` can be asked without the thread that may be left behind: neither
/// itself nor any other on the way to it may be one whose server can be gone.
pub fn answers_at_once<'a>(
    path: &str,
    fs_type: &str,
    mounts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> bool {
    let is_above = |mount: &str| {
        let rest = path.strip_prefix(mount.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let calm = |kind: &str| AT_ONCE.contains(&kind) || ON_THE_WAY.contains(&kind);
    AT_ONCE.contains(&fs_type) && mounts.into_iter().all(|(mount, kind)| !is_above(mount) || calm(kind))
}

/// The answer of a file system that [`answers_at_once`].
pub fn answer(path: &Path) -> Answer {
    answer_of(space, path)
}

fn answer_of(ask: Ask, path: &Path) -> Answer {
    ask(path).map_or_else(|e| Answer::Refused(reason(&e)), Answer::Space)
}

impl Spaces {
    /// Waits at most `patience` for all mounts together (and a little for those behind a hanging one).
    pub fn new(patience: Duration) -> Self {
        Self { ask: space, patience, worker: None, stuck: Vec::new() }
    }

    /// Puts the answer for each of the paths, in their order, into `answers`.
    pub fn ask(&mut self, paths: &Arc<[PathBuf]>, answers: &mut Vec<Answer>) -> io::Result<()> {
        self.stuck.retain(|(_, worker)| worker.lock().phase != Phase::Ended);
        answers.clear();
        let deadline = Instant::now() + self.patience;
        while let Some(path) = paths.get(answers.len()) {
            if self.stuck.iter().any(|(stuck, _)| stuck == path) {
                answers.push(Answer::Stuck);
                continue;
            }
            let worker = match self.worker.take() {
                Some(worker) => worker,
                None => start(self.ask)?,
            };
            let until = deadline.max(Instant::now() + GRACE);
            if worker.run(paths, answers, until, &self.stuck) {
                self.worker = Some(worker);
            } else if let Some(path) = paths.get(answers.len()) {
                answers.push(Answer::Stuck);
                self.stuck.push((path.clone(), worker));
            }
        }
        Ok(())
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.lock().phase = Phase::Abandoned;
            worker.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread ask from the first path without an answer up to the next one that is stuck; whether it
    /// was done in time. If not, the path behind the last answer is the one that hangs.
    fn run(
        &self,
        paths: &Arc<[PathBuf]>,
        answers: &mut Vec<Answer>,
        until: Instant,
        stuck: &[(PathBuf, Arc<Self>)],
    ) -> bool {
        let from = answers.len();
        let rest = paths.get(from..).unwrap_or_default();
        let count = rest.iter().position(|p| stuck.iter().any(|(s, _)| s == p)).unwrap_or(rest.len());
        let mut state = self.lock();
        state.answers.clear();
        state.from = from;
        // The thread stops at what is stuck: it is told the end by the length of its list.
        state.paths = Some(if from + count == paths.len() {
            Arc::clone(paths)
        } else {
            paths.iter().take(from + count).cloned().collect()
        });
        state.phase = Phase::Asking;
        // Whoever is woken wants the lock at once, so it is given back first.
        drop(state);
        self.changed.notify_all();
        let mut state = self.lock();
        while state.phase == Phase::Asking {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.phase = Phase::Abandoned;
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        answers.append(&mut state.answers);
        counted::take_over(std::mem::take(&mut state.cost));
        state.phase == Phase::Idle
    }

    /// The thread's work until it is abandoned.
    fn serve(&self, ask: Ask) {
        let (mut calls, mut cpu_time) = (counted::spent(), counted::cpu_time());
        let mut state = self.lock();
        while state.phase != Phase::Abandoned {
            if state.phase != Phase::Asking {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let at = state.from + state.answers.len();
            let next = state.paths.as_ref().and_then(|paths| paths.get(at)).cloned();
            if let Some(path) = next {
                drop(state);
                let answer = answer_of(ask, &path);
                state = self.lock();
                state.answers.push(answer);
            } else {
                state.paths = None;
                state.phase = Phase::Idle;
                let (calls_now, cpu_now) = (counted::spent(), counted::cpu_time());
                let helpers = cpu_now.saturating_sub(cpu_time);
                state.cost = state.cost.plus(Cost { helpers, ..calls_now.since(calls) });
                (calls, cpu_time) = (calls_now, cpu_now);
                drop(state);
                self.changed.notify_all();
                state = self.lock();
            }
        }
        state.phase = Phase::Ended;
    }
}

fn start(ask: Ask) -> io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared::default());
    let of_thread = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("statvfs".into())
        .stack_size(128 << 10)
        .spawn(move || of_thread.serve(ask))?;
    Ok(shared)
}

fn space(path: &Path) -> io::Result<Space> {
    let answer = counted::statvfs(path)?;
    // Blocks are counted in `f_frsize` (statvfs(3)); very old file systems leave it 0.
    let block = if answer.f_frsize == 0 { answer.f_bsize } else { answer.f_frsize };
    Ok(Space {
        size_bytes: answer.f_blocks.saturating_mul(block),
        free_bytes: answer.f_bfree.saturating_mul(block),
        available_bytes: answer.f_bavail.saturating_mul(block),
        files: answer.f_files,
        files_free: answer.f_ffree,
    })
}

/// The kernel's reason as other exporters word it: without a number, and in lower case.
fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn paths(names: &[&str]) -> Arc<[PathBuf]> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_kernels_reason() {
        let mut answers = Vec::new();
        let mut spaces = Spaces::new(Duration::from_secs(5));
        spaces.ask(&paths(&["/", "/no/such"]), &mut answers).unwrap();
        assert!(matches!(answers[0], Answer::Space(space) if space.size_bytes > 0));
        assert_eq!(answers[1], Answer::Refused("no such file or directory".into()));
    }

    #[test]
    fn only_what_is_local_all_the_way_is_asked_at_once() {
        let mounts = [
            ("/", "ext4"),
            ("/sys", "sysfs"),
            ("/far", "nfs4"),
            ("/far/disk", "ext4"),
            ("/farm", "xfs"),
            ("/home", "autofs"),
            ("/home/a", "ext4"),
            ("/run", "tmpfs"),
        ];
        let at_once: Vec<&str> = mounts
            .into_iter()
            .filter(|(path, kind)| answers_at_once(path, kind, mounts))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(at_once, ["/", "/farm", "/run"]);
        assert!(!answers_at_once("/", "ext4", [("/", "ext4"), ("/", "overlay")]));
        assert!(matches!(answer(Path::new("/")), Answer::Space(_)));
        assert_eq!(answer(Path::new("/no/such")), Answer::Refused("no such file or directory".into()));
    }

    #[test]
    fn a_mount_that_hangs_costs_only_itself_and_comes_back_when_it_answers() {
        static GATE: AtomicBool = AtomicBool::new(false);
        #[expect(clippy::unnecessary_wraps, reason = "the type of the question")]
        fn ask(path: &Path) -> io::Result<Space> {
            while path == Path::new("hangs") && !GATE.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            Ok(Space::default())
        }
        let good = || Answer::Space(Space::default());
        let mut spaces = Spaces::new(Duration::from_millis(20));
        spaces.ask = ask;
        let paths = paths(&["a", "hangs", "b"]);
        let mut answers = Vec::new();
        for _ in 0..3 {
            spaces.ask(&paths, &mut answers).unwrap();
            assert_eq!(answers, [good(), Answer::Stuck, good()]);
            assert_eq!(spaces.stuck.len(), 1, "one waiting thread for one hanging mount");
        }
        GATE.store(true, Ordering::Release);
        while !spaces.stuck.is_empty() {
            spaces.ask(&paths, &mut answers).unwrap();
        }
        spaces.ask(&paths, &mut answers).unwrap();
        assert_eq!(answers, [good(), good(), good()]);
    }
}
