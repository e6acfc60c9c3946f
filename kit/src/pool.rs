//! A pool of objects (deadpool) with limits and wait times, that drops what is idle and gives idle ones back on request.

use crate::Kit;
use crate::metrics::PART;
use crate::part::{About, Part, PartError, Sample, Urgency};
use crate::reclaim::RegisterError;
use deadpool::managed::{self, PoolConfig, TimeoutType, Timeouts};
use prometheus::{Histogram, IntCounter};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use deadpool::managed::{Manager, Metrics, Object, PoolError, RecycleError, RecycleResult};

/// Limits of a pool, and its place among the parts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Objects at one time,
    pub objects_max: usize,
    /// and what one of them takes.
    pub object_bytes: u64,
    /// How long somebody waits for an object at most.
    pub wait_max: Option<Duration>,
    /// How long an object may take to be made.
    pub create_max: Option<Duration>,
    /// Dropped after so long without use,
    pub idle: Option<Duration>,
    /// but so many are kept.
    pub idle_min: usize,
    /// What a request may ask for by name.
    pub kind: String,
    /// What it costs to make them again.
    pub cost: f64,
}

impl Default for Options {
    /// 16 objects of 1 MiB, waited for as long as it takes, dropped after a minute.
    fn default() -> Self {
        Self {
            objects_max: 16,
            object_bytes: 1 << 20,
            wait_max: None,
            create_max: None,
            idle: Some(Duration::from_mins(1)),
            idle_min: 0,
            kind: "drop_caches".into(),
            cost: 10.0,
        }
    }
}

/// A pool; clones are the same one.
#[must_use = "it is no part any more when this is dropped"]
pub struct Pool<M: Manager> {
    inner: Arc<Inner<M>>,
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: Manager> std::fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("status", &self.inner.pool.status()).finish_non_exhaustive()
    }
}

struct Inner<M: Manager> {
    pool: managed::Pool<M>,
    options: Options,
    waits: Histogram,
    timeouts: IntCounter,
    dropped: IntCounter,
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolRefused {
    /// It cannot be a part.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// deadpool does not take it.
    #[error("the pool cannot be made: {0}")]
    Build(#[from] managed::BuildError),
}

impl<M: Manager + 'static> Pool<M> {
    /// An empty pool, registered as a part; the manager makes objects, and looks whether they are still good.
    pub fn new(kit: &Kit, name: &str, options: Options, manager: M) -> Result<Self, PoolRefused> {
        let about = About::new(name, &options.kind, options.cost);
        about.check().map_err(RegisterError::About)?;
        let mut config = PoolConfig::new(options.objects_max);
        // A look whether an object is still good may hang as its making may.
        let (wait, create) = (options.wait_max, options.create_max);
        config.timeouts = Timeouts { wait, create, recycle: create };
        // The one that came back last goes out first, so that under a light load the others stay idle and can go.
        config.queue_mode = managed::QueueMode::Lifo;
        let pool =
            managed::Pool::builder(manager).config(config).runtime(deadpool::Runtime::Tokio1).build()?;
        let labels = [name, options.kind.as_str()];
        let counter = |family: &'static str, help: &str| {
            kit.metrics().own_counters(family, help, &PART).with_label_values(&labels)
        };
        let waits = kit.metrics().own_seconds(
            "headroom_kit_pool_wait_seconds",
            "Time until an object was there, or was not to be had.",
            &PART,
        );
        let inner = Arc::new(Inner {
            waits: waits.with_label_values(&labels),
            timeouts: counter("headroom_kit_pool_timeouts_total", "Waits that were too long."),
            dropped: counter(
                "headroom_kit_pool_dropped_total",
                "Objects that were idle, or given back on request.",
            ),
            pool,
            options,
        });
        let part: Arc<dyn Part> = Arc::<Inner<M>>::clone(&inner);
        kit.reclaim().add_weak(about, &part)?;
        Ok(Self { inner })
    }

    /// An object, which goes back when it is dropped. A pool at its limit is waited for.
    pub async fn get(&self) -> Result<Object<M>, PoolError<M::Error>> {
        let begun = Instant::now();
        let got = self.inner.pool.get().await;
        self.inner.waits.observe(begun.elapsed().as_secs_f64());
        if matches!(got, Err(PoolError::Timeout(TimeoutType::Wait))) {
            self.inner.timeouts.inc();
        }
        got
    }

    /// Objects that there are, idle and in use.
    pub fn objects(&self) -> usize {
        self.inner.pool.status().size
    }

    /// Gives out no more; who waits is told so.
    pub fn close(&self) {
        self.inner.pool.close();
    }
}

impl<M: Manager> Inner<M> {
    /// Drops idle objects, the one that was unused for longest first, as the function says with how many are gone.
    fn drop_idle(&self, mut goes: impl FnMut(Duration, usize) -> bool) -> u64 {
        let mut gone = 0;
        let result = self.pool.retain(|_, metrics| {
            let goes = goes(metrics.last_used(), gone);
            gone += usize::from(goes);
            !goes
        });
        let count = result.removed.len() as u64;
        // What they do at their end must not hold up the pool; its lock is free again here.
        drop(result.removed);
        self.dropped.inc_by(count);
        count
    }
}

impl<M: Manager> Part for Inner<M> {
    fn held_bytes(&self) -> Option<u64> {
        Some((self.pool.status().size as u64).saturating_mul(self.options.object_bytes))
    }

    fn samples(&self) -> Vec<Sample> {
        let status = self.pool.status();
        let used = status.size.saturating_sub(status.available);
        [
            ("pool_idle_objects", "Objects that nobody uses.", status.available),
            ("pool_used_objects", "Objects in use.", used),
            ("pool_waiting_requests", "Who waits for an object.", status.waiting),
        ]
        .map(|(name, help, value)| Sample { name, help, value: value as u64 })
        .into()
    }

    fn reclaim(&self, target_bytes: u64, urgency: Urgency) -> Result<u64, PartError> {
        let each = self.options.object_bytes.max(1);
        let enough = match urgency {
            Urgency::High => usize::MAX,
            Urgency::Low => usize::try_from(target_bytes.div_ceil(each)).unwrap_or(usize::MAX),
        };
        Ok(self.drop_idle(|_, gone| gone < enough).saturating_mul(self.options.object_bytes))
    }

    fn tended_every(&self) -> Option<Duration> {
        self.options.idle.map(|idle| idle / 4)
    }

    fn tend(&self, _now: Instant) {
        if let Some(idle) = self.options.idle {
            let spare = self.pool.status().size.saturating_sub(self.options.idle_min);
            self.drop_idle(|unused, gone| gone < spare && unused >= idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::Wish;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Makes buffers, and counts those that there are.
    struct Buffers(Arc<AtomicUsize>);

    struct Buffer(Arc<AtomicUsize>);

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Manager for Buffers {
        type Type = Buffer;
        type Error = std::convert::Infallible;

        async fn create(&self) -> Result<Buffer, Self::Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Buffer(Arc::clone(&self.0)))
        }

        async fn recycle(&self, _: &mut Buffer, _: &Metrics) -> RecycleResult<Self::Error> {
            Ok(())
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    fn pool(options: Options) -> (Kit, Pool<Buffers>, Arc<AtomicUsize>) {
        let (kit, there) = (Kit::new(), Arc::new(AtomicUsize::new(0)));
        let pool = Pool::new(&kit, "buffers", options, Buffers(Arc::clone(&there))).unwrap();
        (kit, pool, there)
    }

    #[test]
    fn at_its_limit_it_is_waited_for_and_the_wait_is_measured() {
        run(async {
            let wait_max = Some(Duration::from_millis(20));
            let (kit, pool, there) = pool(Options { objects_max: 2, wait_max, ..Options::default() });
            let both = (pool.get().await.unwrap(), pool.get().await.unwrap());
            assert!(matches!(pool.get().await, Err(PoolError::Timeout(TimeoutType::Wait))));
            assert_eq!(there.load(Ordering::SeqCst), 2);
            drop(both);
            drop(pool.get().await.unwrap());
            assert_eq!(there.load(Ordering::SeqCst), 2, "one that was there is used again");
            let page = String::from_utf8(kit.metrics().page().unwrap()).unwrap();
            for line in [
                "headroom_kit_pool_wait_seconds_count{kind=\"drop_caches\",part=\"buffers\"} 4\n",
                "headroom_kit_pool_wait_seconds_bucket{kind=\"drop_caches\",part=\"buffers\",le=\"0.01\"} 3\n",
                "headroom_kit_pool_timeouts_total{kind=\"drop_caches\",part=\"buffers\"} 1\n",
                "headroom_kit_pool_idle_objects{kind=\"drop_caches\",part=\"buffers\"} 2\n",
            ] {
                assert!(page.contains(line), "{line}: {page}");
            }
        });
    }

    #[test]
    fn asked_for_memory_it_drops_idle_objects_and_none_that_is_used() {
        run(async {
            let (kit, pool, there) = pool(Options { object_bytes: 1000, ..Options::default() });
            let mut used = Vec::new();
            for _ in 0..5 {
                used.push(pool.get().await.unwrap());
            }
            used.truncate(1);
            assert_eq!(kit.reclaim().held_bytes(), 5000);
            let wish = Wish { target_bytes: 1500, kind: Some("drop_caches"), ..Wish::default() };
            assert_eq!(kit.reclaim().reclaim(&wish).unwrap().parts[0].released_bytes, 2000);
            assert_eq!(there.load(Ordering::SeqCst), 3);
            kit.reclaim().reclaim(&Wish { urgency: Urgency::High, ..wish }).unwrap();
            assert_eq!((there.load(Ordering::SeqCst), pool.objects()), (1, 1));
        });
    }

    #[test]
    fn idle_objects_go_with_their_time_but_for_those_that_are_to_stay() {
        run(async {
            let idle = Some(Duration::from_millis(40));
            let (_kit, pool, there) = pool(Options { idle, idle_min: 1, ..Options::default() });
            let three = (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
            drop(three);
            let deadline = Instant::now() + Duration::from_secs(20);
            while there.load(Ordering::SeqCst) > 1 {
                assert!(Instant::now() < deadline, "they are still there");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(there.load(Ordering::SeqCst), 1);
        });
    }
}
