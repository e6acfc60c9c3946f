//! The thread that looks after parts which drop what is idle.

use super::{Inner, lock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// It never looks more often,
const EVERY_MIN: Duration = Duration::from_millis(10);
/// and never less often.
const EVERY_MAX: Duration = Duration::from_secs(1);

/// How often somebody wants to be looked after; the thread begins with the first wish.
#[derive(Clone, Default)]
pub(super) struct Keeper {
    wish: Arc<(Mutex<Option<Duration>>, Condvar)>,
}

impl Keeper {
    /// Looks after all parts at least so often, for as long as the registry is there.
    pub(super) fn want(&self, every: Duration, inner: &Arc<Inner>) {
        let every = every.clamp(EVERY_MIN, EVERY_MAX);
        let mut wish = lock(&self.wish.0);
        let first = wish.is_none();
        *wish = Some(wish.map_or(every, |known| known.min(every)));
        drop(wish);
        self.wish.1.notify_all();
        if first {
            let (keeper, inner) = (self.clone(), Arc::downgrade(inner));
            let begun = std::thread::Builder::new()
                .name("headroom-kit-idle".into())
                .spawn(move || keeper.look_after(&inner));
            if let Err(error) = begun {
                *lock(&self.wish.0) = None;
                tracing::error!(%error, "nothing idle will be dropped: no thread can be started for it");
            }
        }
    }

    fn look_after(&self, inner: &Weak<Inner>) {
        loop {
            let wish = lock(&self.wish.0);
            let every = wish.unwrap_or(EVERY_MAX);
            drop(self.wish.1.wait_timeout(wish, every).unwrap_or_else(PoisonError::into_inner));
            let Some(inner) = inner.upgrade() else { return };
            for (entry, part) in inner.there() {
                if catch_unwind(AssertUnwindSafe(|| part.tend(Instant::now()))).is_err() {
                    tracing::error!(part = entry.about.name, "a part panicked over what is idle");
                }
            }
        }
    }
}
