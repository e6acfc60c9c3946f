//! A value that is loaded when it is first used, and unloaded when nobody uses it: a model, an index, a dictionary.

use crate::Kit;
use crate::memory::Memory;
use crate::metrics::PART;
use crate::part::{About, Part, PartError, Sample, Urgency};
use crate::reclaim::{RegisterError, lock};
use prometheus::IntCounter;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How much a loaded value takes.
#[derive(Clone, Copy, Debug, Default)]
pub enum Size<T> {
    /// So much, whatever it is.
    Bytes(u64),
    /// What the function says of it.
    Of(fn(&T) -> u64),
    /// By how much the process grows while it is loaded; rough where others allocate at the same time.
    #[default]
    Growth,
}

/// When it is unloaded, and its place among the parts.
#[derive(Clone, Debug)]
pub struct Options<T> {
    /// Unloaded after so long without use; only on request if `None`.
    pub idle: Option<Duration>,
    /// How much it takes.
    pub size: Size<T>,
    /// What a request may ask for by name.
    pub kind: String,
    /// What it costs to load again.
    pub cost: f64,
}

impl<T> Default for Options<T> {
    /// Ten minutes, and dear.
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_mins(10)),
            size: Size::Growth,
            kind: "unload_models".into(),
            cost: 80.0,
        }
    }
}

/// A value with a loader; clones are the same one.
#[must_use = "it is no part any more when this is dropped"]
pub struct Lazy<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> std::fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy").finish_non_exhaustive()
    }
}

type Load<T> = Box<dyn Fn() -> Result<T, PartError> + Send + Sync>;

struct Inner<T> {
    load: Load<T>,
    idle: Option<Duration>,
    size: Size<T>,
    /// One thread loads at a time; the others wait for it, and nobody waits for `state` meanwhile.
    loading: Mutex<()>,
    state: Mutex<State<T>>,
    loads: IntCounter,
    unloads: IntCounter,
    load_seconds: prometheus::Counter,
}

struct State<T> {
    value: Option<Arc<T>>,
    held_bytes: u64,
    users: usize,
    used_at: Instant,
}

impl<T: Send + Sync + 'static> Lazy<T> {
    /// Registered as a part, and not loaded.
    pub fn new(
        kit: &Kit,
        name: &str,
        options: Options<T>,
        load: impl Fn() -> Result<T, PartError> + Send + Sync + 'static,
    ) -> Result<Self, RegisterError> {
        let about = About::new(name, &options.kind, options.cost);
        about.check().map_err(RegisterError::About)?;
        let labels = [name, options.kind.as_str()];
        let counter = |family: &'static str, help: &str| {
            kit.metrics().own_counters(family, help, &PART).with_label_values(&labels)
        };
        let state = State { value: None, held_bytes: 0, users: 0, used_at: Instant::now() };
        let inner = Arc::new(Inner {
            load: Box::new(load),
            idle: options.idle,
            size: options.size,
            loading: Mutex::new(()),
            state: Mutex::new(state),
            loads: counter("headroom_kit_model_loads_total", "How often it was loaded."),
            unloads: counter("headroom_kit_model_unloads_total", "How often it was unloaded."),
            load_seconds: kit
                .metrics()
                .own_time("headroom_kit_model_load_seconds_total", "Time spent on loading.", &PART)
                .with_label_values(&labels),
        });
        let part: Arc<dyn Part> = Arc::<Inner<T>>::clone(&inner);
        kit.reclaim().add_weak(about, &part)?;
        Ok(Self { inner })
    }

    /// The value, loaded now if need be, which stays loaded until what is returned is dropped.
    pub fn get(&self) -> Result<InUse<T>, PartError> {
        // A user from here on: so it is not unloaded between the load and the use.
        let user = User::new(&self.inner);
        if let Some(value) = self.inner.value() {
            return Ok(InUse { value, _user: user });
        }
        let _loading = lock(&self.inner.loading);
        let value = self.inner.value().map_or_else(|| self.inner.load_now(), Ok)?;
        Ok(InUse { value, _user: user })
    }

    /// Whether it is in memory now.
    pub fn is_loaded(&self) -> bool {
        lock(&self.inner.state).value.is_some()
    }

    /// Unloads it unless it is in use; how many bytes that were.
    pub fn unload(&self) -> u64 {
        self.inner.unload(None)
    }
}

impl<T> Inner<T> {
    fn value(&self) -> Option<Arc<T>> {
        lock(&self.state).value.clone()
    }

    fn load_now(&self) -> Result<Arc<T>, PartError> {
        let resident = || Memory::read().map(|memory| memory.resident_bytes).ok();
        let (before, begun) = (resident(), Instant::now());
        let value = Arc::new((self.load)()?);
        let held_bytes = match self.size {
            Size::Bytes(bytes) => bytes,
            Size::Of(size_of) => size_of(&value),
            Size::Growth => before.zip(resident()).map_or(0, |(b, a)| a.saturating_sub(b)),
        };
        self.load_seconds.inc_by(begun.elapsed().as_secs_f64());
        self.loads.inc();
        let mut state = lock(&self.state);
        state.value = Some(Arc::clone(&value));
        state.held_bytes = held_bytes;
        Ok(value)
    }

    /// Unloads what nobody uses and, if a time is given, nobody has used since.
    fn unload(&self, unused_since: Option<Instant>) -> u64 {
        let mut state = lock(&self.state);
        if state.users > 0 || unused_since.is_some_and(|since| state.used_at > since) {
            return 0;
        }
        let Some(value) = state.value.take() else { return 0 };
        let released = std::mem::take(&mut state.held_bytes);
        // What it does at its end may take long, and may want to know of this.
        drop(state);
        drop(value);
        self.unloads.inc();
        released
    }
}

impl<T: Send + Sync> Part for Inner<T> {
    fn held_bytes(&self) -> Option<u64> {
        Some(lock(&self.state).held_bytes)
    }

    fn samples(&self) -> Vec<Sample> {
        let users = lock(&self.state).users as u64;
        vec![Sample { name: "model_users", help: "Who uses it now.", value: users }]
    }

    fn reclaim(&self, _target_bytes: u64, _urgency: Urgency) -> Result<u64, PartError> {
        Ok(self.unload(None))
    }

    fn tended_every(&self) -> Option<Duration> {
        self.idle.map(|idle| idle / 4)
    }

    fn tend(&self, now: Instant) {
        if let Some(since) = self.idle.and_then(|idle| now.checked_sub(idle)) {
            self.unload(Some(since));
        }
    }
}

/// The value, in use: it is not unloaded before this is dropped.
#[must_use = "it counts as in use while this is held"]
pub struct InUse<T> {
    value: Arc<T>,
    _user: User<T>,
}

impl<T> Deref for InUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> std::fmt::Debug for InUse<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InUse").finish_non_exhaustive()
    }
}

struct User<T>(Arc<Inner<T>>);

impl<T> User<T> {
    fn new(inner: &Arc<Inner<T>>) -> Self {
        lock(&inner.state).users += 1;
        Self(Arc::clone(inner))
    }
}

impl<T> Drop for User<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.users -= 1;
        state.used_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::Wish;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn lazy(kit: &Kit, idle: Option<Duration>) -> (Lazy<Vec<u8>>, Arc<AtomicU64>) {
        let loads = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&loads);
        let size = Size::Of(|value: &Vec<u8>| value.len() as u64);
        let options = Options { idle, size, ..Options::default() };
        let load = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(vec![1; 1000])
        };
        (Lazy::new(kit, "model", options, load).unwrap(), loads)
    }

    #[test]
    fn it_is_loaded_once_for_all_and_never_unloaded_under_a_user() {
        let kit = Kit::new();
        let (model, loads) = lazy(&kit, None);
        assert!(!model.is_loaded());
        let together = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    let value = model.get().unwrap();
                    assert_eq!((value.len(), model.unload()), (1000, 0));
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        let urgent = Wish { urgency: Urgency::High, kind: Some("unload_models"), ..Wish::default() };
        let used = model.get().unwrap();
        assert_eq!(kit.reclaim().reclaim(&urgent).unwrap().parts[0].released_bytes, 0);
        drop(used);
        assert_eq!(kit.reclaim().reclaim(&urgent).unwrap().parts[0].released_bytes, 1000);
        assert!(!model.is_loaded());
        assert_eq!(model.get().unwrap().len(), 1000);
        assert_eq!(loads.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn unused_for_its_time_it_is_unloaded_by_itself() {
        let kit = Kit::new();
        let (model, _) = lazy(&kit, Some(Duration::from_millis(40)));
        let used = model.get().unwrap();
        // In use for much longer than that.
        std::thread::sleep(Duration::from_millis(200));
        assert!(model.is_loaded());
        drop(used);
        let deadline = Instant::now() + Duration::from_secs(20);
        while model.is_loaded() {
            assert!(Instant::now() < deadline, "it is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_load_that_fails_or_panics_is_tried_again_by_the_next() {
        let kit = Kit::new();
        let tries = AtomicU64::new(0);
        let load = move || match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no file".into()),
            1 => std::panic::resume_unwind(Box::new("corrupt")),
            _ => Ok(7),
        };
        let value =
            Lazy::new(&kit, "seven", Options { size: Size::Bytes(4), ..Options::default() }, load).unwrap();
        assert_eq!(value.get().unwrap_err().to_string(), "no file");
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| value.get())).is_err());
        assert_eq!(*value.get().unwrap(), 7);
        assert_eq!(kit.reclaim().held_bytes(), 4);
        assert_eq!(value.unload(), 4);
    }
}
