//! How much more there is room for: of one application, and of all.

use super::Store;
use crate::apps::limits::Refusal;

/// What there is room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    series: usize,
    own_series: usize,
    pub(super) bytes: usize,
    pub(super) own_bytes: usize,
}

impl Room {
    /// Whether so much more can be held.
    pub(super) fn check(self, series: usize, bytes: usize) -> Result<(), Refusal> {
        if series > self.own_series {
            Err(Refusal::ApplicationSeries)
        } else if series > self.series {
            Err(Refusal::Series)
        } else if bytes > self.own_bytes {
            Err(Refusal::ApplicationMemory)
        } else if bytes > self.bytes {
            Err(Refusal::Memory)
        } else {
            Ok(())
        }
    }
}

impl Store {
    pub(super) fn room(&self, application: u32) -> Room {
        // One that is not known any more has no room: nobody would count what it held.
        let held = self.applications.get(&application).map(|a| (a.series, a.bytes));
        let (series, bytes) = held.unwrap_or((usize::MAX, usize::MAX));
        let limits = &self.limits;
        Room {
            series: limits.series.saturating_sub(self.series),
            own_series: limits.series_per_application.saturating_sub(series),
            bytes: limits.memory_bytes().saturating_sub(self.bytes),
            own_bytes: limits.memory_bytes_per_application().saturating_sub(bytes),
        }
    }
}
