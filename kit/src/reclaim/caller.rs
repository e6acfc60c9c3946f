//! Calls functions that may never return, and waits for each only so long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// Whether a call to somebody has not come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Away(Arc<AtomicBool>);

/// How a call ended.
pub(crate) enum Called<T> {
    /// It came back; with the message of its panic, if it panicked.
    Back(Result<T, String>),
    /// It did not come back in time.
    Late,
    /// An earlier call has not come back, so this one was not begun.
    Busy,
}

/// One thread for calls one after the other, replaced if a call does not come back.
#[derive(Default)]
pub(crate) struct Caller {
    jobs: Option<SyncSender<Job>>,
}

impl Caller {
    /// Calls a function and waits for its end, at most so long.
    pub(crate) fn call<T: Send + 'static>(
        &mut self,
        away: &Away,
        limit: Duration,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Called<T> {
        if away.0.swap(true, Ordering::SeqCst) {
            return Called::Busy;
        }
        let (answer, answers) = channel();
        let back = Back(away.clone());
        let job: Job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(function)).map_err(|panic| message(panic.as_ref()));
            // Back before the answer is there: whoever has it may ask again at once.
            drop(back);
            let _nobody_waits = answer.send(result);
        });
        if self.send(job).is_err() {
            return Called::Back(Err("no thread could be started to ask it".into()));
        }
        match answers.recv_timeout(limit) {
            Ok(result) => Called::Back(result),
            Err(RecvTimeoutError::Disconnected) => Called::Back(Err("its thread ended".into())),
            Err(RecvTimeoutError::Timeout) => {
                // That thread is away for who knows how long; the next call gets another one.
                self.jobs = None;
                Called::Late
            }
        }
    }

    fn send(&mut self, job: Job) -> Result<(), std::io::Error> {
        if self.jobs.is_none() {
            let (jobs, waiting) = sync_channel(1);
            std::thread::Builder::new().name("headroom-kit-part".into()).spawn(move || work(&waiting))?;
            self.jobs = Some(jobs);
        }
        let Some(jobs) = &self.jobs else { return Err(std::io::Error::other("there is no thread")) };
        jobs.send(job).map_err(|_| std::io::Error::other("the thread has ended"))
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job();
    }
}

/// Marks the end of a call, however it ends; also if it is never begun.
struct Back(Away);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::SeqCst);
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("without a message"))
}
