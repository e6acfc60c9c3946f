//! Writes that may block for seconds: made on a thread of their own, at most one for each place, and left to end there
//! if they are late.
//!
//! A write to `memory.reclaim` or `memory.high` reclaims before it returns, and nothing but the end of the process stops
//! it. Who waits for it without a limit is blind meanwhile.

use super::Hand;
use crate::host::Host;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread's name, as the kernel shows it.
const THREAD: &str = "kernel-write";

type Job = Box<dyn FnOnce(&mut Hand) -> io::Result<()> + Send>;

/// All writes that are made apart, by the place that they are made to.
#[derive(Clone, Debug, Default)]
pub struct Writers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// True once the write is late.
    open: BTreeMap<PathBuf, bool>,
    late: u64,
}

impl Writers {
    /// Writes that were late and have not returned.
    pub fn blocked(&self) -> usize {
        self.with(|s| s.open.values().filter(|late| **late).count())
    }

    /// Writes that were late, since the start.
    pub fn late(&self) -> u64 {
        self.with(|s| s.late)
    }

    /// A thread for writes to `place`; `None` while there is one whose write has not returned.
    pub(super) fn begin(&self, host: &Host, place: &Path) -> io::Result<Option<Apart>> {
        let fresh = self.with(|s| match s.open.entry(place.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(false);
                true
            }
            Entry::Occupied(_) => false,
        });
        if !fresh {
            return Ok(None);
        }
        let taken = Taken { writers: self.clone(), place: place.to_owned() };
        let (jobs, inbox) = sync_channel::<Job>(1);
        let (out, answers) = sync_channel(1);
        let host = host.clone();
        let work = move || {
            let _taken = taken;
            let mut hand = Hand::new(host);
            for job in inbox {
                // Nobody waits for an answer that is late.
                let _heard = out.send(job(&mut hand));
            }
        };
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(work)?;
        let (writers, place) = (self.clone(), place.to_owned());
        Ok(Some(Apart { jobs: Some(jobs), answers, thread: Some(thread), writers, place }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives the place free when the thread ends, even by a panic.
struct Taken {
    writers: Writers,
    place: PathBuf,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.writers.with(|s| s.open.remove(&self.place));
    }
}

/// The thread for the writes to one place. When this is dropped, the thread ends: at once, or when a late write returns.
#[derive(Debug)]
pub struct Apart {
    jobs: Option<SyncSender<Job>>,
    answers: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    writers: Writers,
    place: PathBuf,
}

impl Apart {
    /// Does `job` there; `None` if it has not returned within `deadline`. Then this is of no more use: nobody knows what
    /// the job will have done.
    pub fn run(
        &mut self,
        deadline: Duration,
        job: impl FnOnce(&mut Hand) -> io::Result<()> + Send + 'static,
    ) -> Option<io::Result<()>> {
        let ended = || io::Error::other("the thread for writes has ended");
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(Box::new(job)).is_err()) {
            return Some(Err(ended()));
        }
        match self.answers.recv_timeout(deadline) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Disconnected) => Some(Err(ended())),
            Err(RecvTimeoutError::Timeout) => {
                self.writers.with(|s| {
                    s.late += 1;
                    // Unless it has returned in this moment.
                    s.open.entry(self.place.clone()).and_modify(|late| *late = true);
                });
                (self.jobs, self.thread) = (None, None);
                None
            }
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.jobs = None;
        // It waits for nothing but jobs, so it ends at once, and the place is free again.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    fn begin(writers: &Writers, place: &str) -> Option<Apart> {
        writers.begin(&Host::default(), Path::new(place)).unwrap()
    }

    #[test]
    fn a_late_write_is_left_to_end_and_holds_its_place_until_then() {
        let writers = Writers::default();
        let mut apart = begin(&writers, "a").unwrap();
        let (go, wait) = channel::<()>();
        let begun = Instant::now();
        let answer = apart.run(Duration::from_millis(20), move |_| {
            let _told = wait.recv();
            Ok(())
        });
        assert!(answer.is_none() && begun.elapsed() < Duration::from_secs(5));
        assert!(apart.run(Duration::from_secs(5), |_| Ok(())).unwrap().is_err(), "it is of no more use");
        drop(apart);
        assert_eq!((writers.blocked(), writers.late()), (1, 1));
        assert!(begin(&writers, "a").is_none(), "one at a time");
        assert!(begin(&writers, "b").is_some(), "other places are free");
        go.send(()).unwrap();
        while writers.blocked() > 0 {
            std::thread::yield_now();
        }
        assert!(begin(&writers, "a").is_some());
        assert_eq!(writers.late(), 1);
    }

    #[test]
    fn a_write_in_time_gives_its_answer_and_its_place_back() {
        let writers = Writers::default();
        for _ in 0..50 {
            let mut apart = begin(&writers, "a").unwrap();
            let refuse = |_: &mut Hand| Err(io::Error::from_raw_os_error(libc::EAGAIN));
            for _ in 0..2 {
                let answer = apart.run(Duration::from_secs(20), refuse).unwrap();
                assert_eq!(answer.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
            }
        }
        assert_eq!((writers.blocked(), writers.late()), (0, 0));
    }

    #[test]
    fn a_write_that_panics_is_an_error_and_holds_no_place() {
        let writers = Writers::default();
        let mut apart = begin(&writers, "a").unwrap();
        assert!(apart.run(Duration::from_secs(20), |_| panic!("a test")).unwrap().is_err());
        drop(apart);
        assert!(begin(&writers, "a").is_some());
    }
}
