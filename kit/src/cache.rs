//! A cache that forgets what was not used for longest (moka), counts its bytes, and gives them back when it is asked to.

use crate::Kit;
use crate::metrics::PART;
use crate::part::{About, Part, PartError, Sample, Urgency};
use crate::reclaim::RegisterError;
use moka::notification::RemovalCause;
use prometheus::IntCounter;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What moka keeps for each entry besides key and value.
const ENTRY_BYTES: u64 = 128;
/// How often what was let go is looked for until it is really freed.
const ROUNDS: usize = 8;

/// Bounds of a cache, and its place among the parts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most that keys and values together may take.
    pub bytes_max: u64,
    /// How long an entry lives,
    pub ttl: Option<Duration>,
    /// and how long without being used.
    pub idle: Option<Duration>,
    /// What a request may ask for by name.
    pub kind: String,
    /// What it costs to build again.
    pub cost: f64,
}

impl Default for Options {
    /// 64 MiB, without a bound of time.
    fn default() -> Self {
        let About { kind, cost, .. } = About::cache("");
        Self { bytes_max: 64 << 20, ttl: None, idle: None, kind, cost }
    }
}

/// A cache by key, safe for threads; clones are the same one. With the last of them its memory is gone.
///
/// Values come out of it shared: one that somebody still has stays in memory all the same.
#[must_use = "it is no part any more when this is dropped"]
pub struct Cache<K, V> {
    inner: Arc<Inner<K, V>>,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

struct Inner<K, V> {
    entries: moka::sync::Cache<K, Arc<Entry<V>>>,
    size_of: Box<dyn Fn(&V) -> usize + Send + Sync>,
    begun: Instant,
    hits: IntCounter,
    misses: IntCounter,
    reclaimed: IntCounter,
}

/// A value, its size, and when it was last used: which of them is the oldest moka does not say.
struct Entry<V> {
    value: Arc<V>,
    bytes: u64,
    used_millis: AtomicU64,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// A cache that is registered as a part; `size_of` says what a value takes on the heap.
    pub fn new(
        kit: &Kit,
        name: &str,
        options: Options,
        size_of: impl Fn(&V) -> usize + Send + Sync + 'static,
    ) -> Result<Self, RegisterError> {
        let Options { bytes_max, ttl, idle, kind, cost } = options;
        let about = About::new(name, &kind, cost);
        about.check().map_err(RegisterError::About)?;
        let counter = |family: &'static str, help: &str| {
            kit.metrics().own_counters(family, help, &PART).with_label_values(&[name, &kind])
        };
        let mut builder = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_, entry: &Arc<Entry<V>>| u32::try_from(entry.bytes).unwrap_or(u32::MAX))
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .eviction_listener(on_drop(
                counter("headroom_kit_cache_evictions_total", "Entries dropped for want of room."),
                counter("headroom_kit_cache_expirations_total", "Entries dropped for their age."),
            ));
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(ttl);
        }
        if let Some(idle) = idle {
            builder = builder.time_to_idle(idle);
        }
        let inner = Arc::new(Inner {
            entries: builder.build(),
            size_of: Box::new(size_of),
            begun: Instant::now(),
            hits: counter("headroom_kit_cache_hits_total", "Look-ups that found a value."),
            misses: counter("headroom_kit_cache_misses_total", "Look-ups that found none."),
            reclaimed: counter("headroom_kit_cache_reclaimed_total", "Entries given back on request."),
        });
        let part: Arc<dyn Part> = Arc::<Inner<K, V>>::clone(&inner);
        kit.reclaim().add_weak(about, &part)?;
        Ok(Self { inner })
    }

    /// The value, which is now the one that was used last.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let found = self.inner.entries.get(key);
        self.inner.count(found.is_none());
        found.map(|entry| self.inner.used(&entry))
    }

    /// The value; if there is none, a new one, which is kept. Of threads that want it at the same time, one makes it.
    pub fn get_or(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let entry = self.inner.entries.entry(key).or_insert_with(|| self.inner.entry(make()));
        self.inner.count(entry.is_fresh());
        self.inner.used(entry.value())
    }

    /// The same with a function that may fail, of which nothing is kept.
    pub fn get_or_try<E: Send + Sync + 'static>(
        &self,
        key: K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, Arc<E>> {
        let entry = self.inner.entries.entry(key).or_try_insert_with(|| Ok(self.inner.entry(make()?)));
        self.inner.count(entry.as_ref().map_or(true, moka::Entry::is_fresh));
        entry.map(|entry| self.inner.used(entry.value()))
    }

    /// Keeps a value, if there is room for it, and gives it back; it counts neither as a hit nor as a miss.
    pub fn put(&self, key: K, value: V) -> Arc<V> {
        let entry = self.inner.entry(value);
        let value = Arc::clone(&entry.value);
        self.inner.entries.insert(key, entry);
        value
    }

    /// Takes a value out; it counts neither as a hit nor as a miss.
    pub fn remove(&self, key: &K) -> Option<Arc<V>> {
        self.inner.entries.remove(key).map(|entry| Arc::clone(&entry.value))
    }

    /// Drops all.
    pub fn clear(&self) {
        self.inner.drop_oldest(u64::MAX);
    }

    /// How many entries there are, as far as that is settled.
    pub fn entries(&self) -> u64 {
        self.inner.entries.run_pending_tasks();
        self.inner.entries.entry_count()
    }
}

/// Counts what the cache drops by itself.
fn on_drop<K, V>(
    evictions: IntCounter,
    expirations: IntCounter,
) -> impl Fn(Arc<K>, Arc<Entry<V>>, RemovalCause) + Send + Sync + 'static {
    move |_, _, cause| match cause {
        RemovalCause::Size => evictions.inc(),
        RemovalCause::Expired => expirations.inc(),
        RemovalCause::Explicit | RemovalCause::Replaced => {}
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn now_millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn entry(&self, value: V) -> Arc<Entry<V>> {
        let bytes = ((self.size_of)(&value) as u64).saturating_add(ENTRY_BYTES);
        Arc::new(Entry { value: Arc::new(value), bytes, used_millis: self.now_millis().into() })
    }

    fn used(&self, entry: &Entry<V>) -> Arc<V> {
        entry.used_millis.store(self.now_millis(), Ordering::Relaxed);
        Arc::clone(&entry.value)
    }

    fn count(&self, missed: bool) {
        if missed { self.misses.inc() } else { self.hits.inc() }
    }

    /// Drops what was unused for longest until so much is gone; how much that was, and how many entries.
    fn drop_oldest(&self, target_bytes: u64) -> (u64, u64) {
        self.entries.run_pending_tasks();
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(key, entry)| (entry.used_millis.load(Ordering::Relaxed), entry.bytes, key))
            .collect();
        all.sort_unstable_by_key(|(used, ..)| *used);
        let (mut released, mut count) = (0_u64, 0);
        for (_, bytes, key) in all {
            if released >= target_bytes {
                break;
            }
            // Another thread may have been quicker.
            if self.entries.remove(&*key).is_some() {
                released = released.saturating_add(bytes);
                count += 1;
            }
        }
        // Removed is not freed: moka leaves that to later, and to whoever looks last.
        for _ in 0..ROUNDS {
            self.entries.run_pending_tasks();
            crossbeam_epoch::pin().flush();
        }
        (released, count)
    }
}

impl<K, V> Part for Inner<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn held_bytes(&self) -> Option<u64> {
        self.entries.run_pending_tasks();
        Some(self.entries.weighted_size())
    }

    fn samples(&self) -> Vec<Sample> {
        vec![Sample { name: "cache_entries", help: "Entries.", value: self.entries.entry_count() }]
    }

    fn reclaim(&self, target_bytes: u64, urgency: Urgency) -> Result<u64, PartError> {
        let target = if urgency == Urgency::High { u64::MAX } else { target_bytes };
        let (released, count) = self.drop_oldest(target);
        self.reclaimed.inc_by(count);
        Ok(released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::Wish;

    fn cache(options: Options) -> (Kit, Cache<u32, Vec<u8>>) {
        let kit = Kit::new();
        let cache = Cache::new(&kit, "thumbnails", options, Vec::len).unwrap();
        (kit, cache)
    }

    fn of_cache(target_bytes: u64, urgency: Urgency) -> Wish<'static> {
        Wish { target_bytes, urgency, kind: Some("drop_caches"), ..Wish::default() }
    }

    #[test]
    fn hits_misses_and_what_is_held_are_counted() {
        let (kit, cache) = cache(Options::default());
        assert_eq!(cache.get(&1), None);
        assert_eq!(*cache.get_or(1, || vec![7; 1000]), vec![7; 1000]);
        assert_eq!(*cache.get_or(1, || unreachable!("it is there")), vec![7; 1000]);
        let failed = cache.get_or_try(2, || Err::<Vec<u8>, _>("no disk")).unwrap_err();
        assert_eq!(*failed, "no disk");
        assert_eq!(kit.reclaim().held_bytes(), 1000 + ENTRY_BYTES);
        let page = String::from_utf8(kit.metrics().page().unwrap()).unwrap();
        for (family, count) in [("hits", 1), ("misses", 3), ("evictions", 0)] {
            let line = format!(
                "headroom_kit_cache_{family}_total{{kind=\"drop_caches\",part=\"thumbnails\"}} {count}\n"
            );
            assert!(page.contains(&line), "{line}: {page}");
        }
    }

    #[test]
    fn it_keeps_to_its_bytes_and_drops_what_was_unused_for_longest() {
        let (kit, cache) = cache(Options { bytes_max: 100_000, ..Options::default() });
        for key in 0..200 {
            cache.put(key, vec![0; 1000]);
            // The first one is always in use.
            assert!(cache.get(&0).is_some(), "{key}");
            cache.entries();
        }
        assert!(kit.reclaim().held_bytes() <= 100_000);
        assert!(cache.entries() >= 80, "{}", cache.entries());
        assert!(cache.get(&0).is_some() && cache.get(&1).is_none() && cache.get(&199).is_some());
    }

    #[test]
    fn asked_for_a_part_it_gives_the_oldest_and_asked_urgently_all() {
        let (kit, cache) = cache(Options::default());
        for key in 0..100 {
            cache.put(key, vec![0; 10_000]);
            // Ages are of milliseconds.
            let now = cache.inner.now_millis();
            while cache.inner.now_millis() == now {
                std::hint::spin_loop();
            }
        }
        assert!(cache.get(&0).is_some());
        let outcome = kit.reclaim().reclaim(&of_cache(200_000, Urgency::Low)).unwrap();
        assert!((200_000..215_000).contains(&outcome.parts[0].released_bytes), "{outcome:?}");
        assert!(cache.get(&0).is_some(), "it was used last");
        let there: Vec<u32> = (1..100).filter(|key| cache.get(key).is_some()).collect();
        assert_eq!(there, (21..100).collect::<Vec<_>>());
        kit.reclaim().reclaim(&of_cache(1, Urgency::High)).unwrap();
        assert_eq!((cache.entries(), kit.reclaim().held_bytes()), (0, 0));
    }

    #[test]
    fn what_is_given_back_is_freed_before_the_answer_whoever_put_it_there() {
        struct Counted(Arc<AtomicU64>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let kit = Kit::new();
        let cache: Cache<u64, Counted> = Cache::new(&kit, "counted", Options::default(), |_| 1000).unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        let (filled, wait) = std::sync::mpsc::channel();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (theirs, count) = (cache.clone(), Arc::clone(&dropped));
        // A thread that used the cache, and now does something else.
        let other = std::thread::spawn(move || {
            for key in 0..1000 {
                theirs.put(key, Counted(Arc::clone(&count)));
            }
            filled.send(()).unwrap();
            let _released = hold.recv();
        });
        wait.recv().unwrap();
        kit.reclaim().reclaim(&of_cache(1, Urgency::High)).unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 1000);
        drop(release);
        other.join().unwrap();
    }

    #[test]
    fn entries_end_with_their_time_and_the_part_with_its_cache() {
        let (kit, cache) = cache(Options { ttl: Some(Duration::from_millis(50)), ..Options::default() });
        cache.put(1, vec![0; 10]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while cache.get(&1).is_some() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let kinds = |kit: &Kit| kit.reclaim().state().iter().any(|part| part.kind == "drop_caches");
        assert!(kinds(&kit));
        drop(cache);
        assert!(!kinds(&kit));
    }
}
