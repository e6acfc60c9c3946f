//! Threads for what may block for long: each piece of work has one of its own, and no more than a few have one at once.

use std::io;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Places for work that may block: neither the thread of a runtime nor its pool is held up by it.
#[derive(Clone, Debug)]
pub struct Apart(Arc<Semaphore>);

/// A place, which is free again when this is dropped.
pub type Place = OwnedSemaphorePermit;

impl Apart {
    /// So much work at once.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Does the work on a thread of its own, once there is a place. Who no longer waits leaves it to its end; what holds the
    /// place for longer than the work takes it along.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Place) -> T + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        let work = move || {
            let _nobody_waits_any_more = tell.send(work(place));
        };
        std::thread::Builder::new().name("apart".into()).spawn(work)?;
        told.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn work_that_hangs_holds_its_place_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (go_on, waits) = channel::<()>();
        runtime.block_on(async {
            let apart = Apart::new(1);
            let soon = Duration::from_millis(50);
            let hangs = apart.run(move |_place| waits.recv().is_ok());
            assert!(tokio::time::timeout(soon, hangs).await.is_err(), "this thread goes on meanwhile");
            assert!(tokio::time::timeout(soon, apart.run(|_place| ())).await.is_err(), "there is one place");
            go_on.send(()).unwrap();
            let kept = apart.run(|place| place).await.unwrap();
            assert!(tokio::time::timeout(soon, apart.run(|_place| ())).await.is_err(), "it was taken along");
            drop(kept);
            assert_eq!(apart.run(|_place| 7).await.unwrap(), 7);
        });
    }
}
