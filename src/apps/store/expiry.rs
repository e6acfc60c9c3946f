//! What becomes of series that nobody sends any more, and of all that was held for them alone.

use super::{EXPIRE_MILLIS_MIN, Store, application_bytes};
use std::ops::RangeBounds;

impl Store {
    /// Forgets what was not sent for too long.
    pub(super) fn expire(&mut self, now_millis: u64) {
        self.expired_at_millis = now_millis;
        let limit = u64::try_from(self.stale_after.as_millis()).unwrap_or(u64::MAX);
        let is_stale = |seen: u64| now_millis.saturating_sub(seen) > limit;
        self.counts.expired += self.sweep(.., is_stale);
        let mut bytes_gone = 0;
        self.applications.retain(|_, application| {
            let stays = application.series > 0 || !is_stale(application.seen_millis);
            if !stays {
                bytes_gone += application_bytes(&application.job, &application.instance);
            }
            stays
        });
        self.bytes = self.bytes.saturating_sub(bytes_gone);
        let applications = &self.applications;
        self.numbers.retain(|_, number| applications.contains_key(number));
    }

    /// Takes away the series with these keys that were seen at a time that `is_gone`, and all that was held for them alone; how
    /// many they were.
    pub(super) fn sweep(
        &mut self,
        keys: impl RangeBounds<Box<[u8]>> + Clone,
        is_gone: impl Fn(u64) -> bool,
    ) -> u64 {
        // By application: series and bytes.
        let (mut gone, mut count) = (Vec::new(), 0);
        self.families.retain(|name, family| {
            let old = family.series.extract_if(keys.clone(), |_, series| is_gone(series.seen_millis));
            let before = count;
            for (key, series) in old {
                let number = key.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
                gone.push((number, (series.held.series(), series.bytes)));
                count += 1;
            }
            family.is_thinned |= count > before;
            let unused = family.forget_unused_names();
            gone.extend(unused.into_iter().map(|(owner, bytes)| (owner, (0, bytes))));
            if family.series.is_empty() {
                gone.extend(family.shared(name).map(|(owner, bytes)| (owner, (0, bytes))));
            }
            !family.series.is_empty()
        });
        for (number, before) in gone {
            self.count(number, before, (0, 0));
        }
        count
    }

    /// [`Self::expire`] where room is wanted, not more often than makes sense; whether it was done.
    pub(super) fn expire_if_due(&mut self, now_millis: u64) -> bool {
        let due = now_millis.saturating_sub(self.expired_at_millis) >= EXPIRE_MILLIS_MIN;
        if due {
            self.expire(now_millis);
        }
        due
    }
}
