//! Series of which more is kept than their value: quantiles, the members of sets, and times to live of their own.

use super::mapping::Summary;
use super::quantiles::Window;
use crate::apps::store::Labels;
use crate::metric::Kind;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a series takes here, without its key and what it holds.
const SERIES_BYTES: usize = 192;
/// What a member of a set takes.
const MEMBER_BYTES: usize = 18;

/// What is kept of a series.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) seen: Instant,
    pub(super) ttl: Option<Duration>,
    pub(super) help: Arc<str>,
    pub(super) what: What,
    /// Whether it was observed since it was last shown.
    is_dirty: bool,
    /// Under which mappings it was observed last.
    generation: u64,
    bytes: usize,
}

#[derive(Debug)]
pub(super) enum What {
    /// Nothing but its time to live.
    Nothing,
    Summary(Box<Window>),
    /// Hashes of the members since the last interval began.
    Set(HashSet<u64>),
}

/// All series of which something is kept.
#[derive(Debug)]
pub(super) struct All {
    series: HashMap<Box<[u8]>, Kept>,
    dirty: Vec<Box<[u8]>>,
    /// How many of them are no summaries: only these may be numbers' as well.
    numbers: usize,
    /// Counts the mappings that there were.
    pub(super) generation: u64,
    bytes: usize,
    pub(super) bytes_max: usize,
    hashes: RandomState,
}

/// There is no room for another series, or another member of a set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl All {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (series, hashes) = (HashMap::new(), RandomState::new());
        Self { series, dirty: Vec::new(), numbers: 0, generation: 0, bytes: 0, bytes_max, hashes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Takes note of a sample of the series of this key.
    pub(super) fn note(
        &mut self,
        key: &[u8],
        (now, ttl): (Instant, Option<Duration>),
        help: &Arc<str>,
        make: impl FnOnce() -> What,
    ) -> Result<&mut Kept, NoRoom> {
        if !self.series.contains_key(key) {
            let what = make();
            let bytes = measured(key, &what);
            if self.bytes + bytes > self.bytes_max {
                return Err(NoRoom);
            }
            self.bytes += bytes;
            self.numbers += usize::from(what.is_number());
            let (help, generation) = (Arc::clone(help), self.generation);
            let kept = Kept { seen: now, ttl, help, what, is_dirty: false, generation, bytes };
            self.series.insert(key.into(), kept);
        }
        let kept = self.series.get_mut(key).ok_or(NoRoom)?;
        (kept.seen, kept.ttl) = (now, ttl);
        Ok(kept)
    }

    /// Whether a number's series may be among them.
    pub(super) fn has_numbers(&self) -> bool {
        self.numbers > 0
    }

    /// Takes note of a number whose mapping gives it no time to live: one that it had is forgotten.
    pub(super) fn outlive(&mut self, key: &[u8], now: Instant) {
        let Some(kept) = self.series.get_mut(key) else { return };
        if !matches!(kept.what, What::Nothing) {
            (kept.seen, kept.ttl) = (now, None);
        } else if let Some(kept) = self.series.remove(key) {
            (self.bytes, self.numbers) = (self.bytes - kept.bytes, self.numbers - 1);
        }
    }

    /// Observes a value; it shows with the next [`All::flush`]. After a reload the options may be others.
    pub(super) fn observe(
        &mut self,
        key: &[u8],
        now: Instant,
        (value, times): (f64, u64),
        options: &Summary,
    ) {
        let may_grow = self.bytes < self.bytes_max;
        let Some(kept) = self.series.get_mut(key) else { return };
        if let What::Summary(window) = &mut kept.what {
            if std::mem::replace(&mut kept.generation, self.generation) != self.generation {
                window.fit(options, now);
            }
            window.turn(now);
            window.observe(value, times, may_grow);
            if !std::mem::replace(&mut kept.is_dirty, true) {
                self.dirty.push(key.into());
            }
        }
        kept.measure(key, &mut self.bytes);
    }

    /// Puts a member into a set.
    pub(super) fn add(&mut self, key: &[u8], member: &str) -> Result<(), NoRoom> {
        let hash = self.hashes.hash_one(member);
        let is_full = self.bytes >= self.bytes_max;
        let Some(kept) = self.series.get_mut(key) else { return Err(NoRoom) };
        if let What::Nothing = kept.what {
            // A gauge with a time to live becomes a set.
            kept.what = What::Set(HashSet::new());
        }
        if let What::Set(members) = &mut kept.what {
            if is_full && !members.contains(&hash) {
                return Err(NoRoom);
            }
            members.insert(hash);
        }
        kept.measure(key, &mut self.bytes);
        Ok(())
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Shows what was observed; a series that `show` says no to is forgotten.
    pub(super) fn flush(&mut self, mut show: impl FnMut(&[u8], &mut Kept, bool) -> bool) {
        let may_grow = self.bytes < self.bytes_max;
        for key in std::mem::take(&mut self.dirty) {
            let Some(kept) = self.series.get_mut(&key) else { continue };
            kept.is_dirty = false;
            let stays = show(&key, kept, may_grow);
            kept.measure(&key, &mut self.bytes);
            if !stays && let Some(kept) = self.series.remove(&key) {
                self.bytes -= kept.bytes;
                self.numbers -= usize::from(kept.what.is_number());
            }
        }
    }

    /// Goes through all series; those that `stays` says no to are forgotten.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&[u8], &mut Kept) -> bool) {
        let (bytes, numbers) = (&mut self.bytes, &mut self.numbers);
        self.series.retain(|key, kept| {
            let stays = stays(key, kept);
            kept.measure(key, bytes);
            if !stays {
                *bytes -= kept.bytes;
                *numbers -= usize::from(kept.what.is_number());
            }
            stays
        });
        self.dirty.retain(|key| self.series.contains_key(key));
    }
}

impl What {
    fn is_number(&self) -> bool {
        !matches!(self, Self::Summary(_))
    }
}

impl Kept {
    fn measure(&mut self, key: &[u8], all: &mut usize) {
        let bytes = measured(key, &self.what);
        *all = *all + bytes - self.bytes;
        self.bytes = bytes;
    }
}

fn measured(key: &[u8], what: &What) -> usize {
    let what = match what {
        What::Nothing => 0,
        What::Summary(window) => window.bytes(),
        What::Set(members) => members.capacity() * MEMBER_BYTES,
    };
    SERIES_BYTES + key.len() + what
}

/// A series' kind, name and labels as bytes.
pub(super) fn write_key(kind: Kind, name: &str, labels: &Labels<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.push(match kind {
        Kind::Counter => b'c',
        Kind::Gauge => b'g',
        Kind::Histogram => b'h',
        Kind::Summary => b's',
        Kind::Untyped => b'u',
    });
    let mut put = |text: &str| {
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    put(name);
    for (name, value) in labels {
        put(name);
        put(value);
    }
}

/// The same back again.
pub(super) fn read_key(key: &[u8]) -> (Kind, &str, Vec<(&str, &str)>) {
    let (kind, mut rest) = match key.split_first() {
        Some((b'c', rest)) => (Kind::Counter, rest),
        Some((b'g', rest)) => (Kind::Gauge, rest),
        Some((b'h', rest)) => (Kind::Histogram, rest),
        Some((b's', rest)) => (Kind::Summary, rest),
        Some((_, rest)) => (Kind::Untyped, rest),
        None => return (Kind::Untyped, "", Vec::new()),
    };
    let mut next = || {
        let (length, behind) = rest.split_first_chunk()?;
        let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = behind;
        std::str::from_utf8(text).ok()
    };
    let name = next().unwrap_or_default();
    let mut labels = Vec::new();
    while let Some(pair) = next().zip(next()) {
        labels.push(pair);
    }
    (kind, name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let mut key = Vec::new();
        let labels = [("a", "b"), ("c", ""), ("d", "é\0")];
        write_key(Kind::Summary, "n", &labels, &mut key);
        assert_eq!(read_key(&key), (Kind::Summary, "n", labels.to_vec()));
    }

    #[test]
    fn what_is_kept_stays_within_its_bytes_and_all_of_it_is_given_back() {
        let now = Instant::now();
        let mut all = All::new(2000);
        let mut key = Vec::new();
        let mut taken = 0;
        for i in 0..100 {
            write_key(Kind::Gauge, &format!("n{i}"), &[], &mut key);
            taken +=
                usize::from(all.note(&key, (now, None), &"".into(), || What::Set(HashSet::new())).is_ok());
        }
        assert!((5..20).contains(&taken) && all.bytes() <= 2000, "{taken}");
        write_key(Kind::Gauge, "n0", &[], &mut key);
        let members = (0..100).filter(|i| all.add(&key, &i.to_string()).is_ok()).count();
        assert!(members > 0 && members < 100, "{members}");
        assert!(all.bytes() < 2000 + 1000, "{}", all.bytes());
        all.retain(|_, _| false);
        assert_eq!((all.bytes(), all.is_empty()), (0, true));
    }
}
