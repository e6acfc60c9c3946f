//! What inputs say of series that they do not send: that they are still there, or gone.

use super::{About, Key, Labels, Sender, Store};
use std::time::Instant;

impl Store {
    /// Takes a series as seen, without a value: its sender knows that it is still there. Whether it is held.
    pub fn touch(&mut self, sender: &Sender, about: &About<'_>, labels: &Labels<'_>) -> bool {
        let now_millis = self.millis(sender.now);
        let Some(family) = self.families.get_mut(about.name, about.kind) else { return false };
        let Ok(key) = Key::new(about.kind, Some(family), labels, &self.limits) else { return false };
        let mut bytes = Vec::new();
        key.write(sender.application, &mut bytes);
        let series = family.series.get_mut(bytes.as_slice()).filter(|_| key.fresh.is_empty());
        series.is_some_and(|series| {
            series.seen_millis = now_millis;
            true
        })
    }

    /// Forgets all series of an application that were not seen since `since`: whoever sent them says that the others are all
    /// there are.
    pub fn forget(&mut self, application: u32, since: Instant) {
        let since = self.millis(since);
        self.sweep(Self::keys_of(application), |seen| seen < since);
    }

    /// All keys that an application's series can have.
    fn keys_of(application: u32) -> std::ops::Range<Box<[u8]>> {
        let next = application.checked_add(1).map_or(vec![0xff; 5], |next| next.to_be_bytes().to_vec());
        application.to_be_bytes().into()..next.into()
    }
}
