//! The collector of what applications send: shows a store that somebody else fills.

use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value, single};
use std::fmt;
use std::sync::Arc;

/// This collector's line in the list. It is on where an input of applications is configured.
pub const ENTRY: Entry = Entry {
    name: "applications",
    on: false,
    make: |_, options| Ok(Box::new(Applications(options.applications.clone()))),
};

/// Something whose samples are shown. It writes what it holds and reads no kernel file.
pub trait Shown: Send + Sync {
    /// Writes all samples; a family whose name the sink has already is left out.
    fn write(&self, out: &mut dyn Sink);

    /// Writes a number of this process, without labels, together with those that it holds under the same name.
    fn write_with(&self, desc: &Desc<'_>, value: Value<'_>, out: &mut dyn Sink);
}

/// What is shown, if there is anything. It is no key of the configuration: whoever starts the inputs sets it.
#[derive(Clone, Default)]
pub struct Source(Option<Arc<dyn Shown>>);

impl Source {
    /// A source of samples.
    pub fn new(shown: Arc<dyn Shown>) -> Self {
        Self(Some(shown))
    }

    /// Writes a number of this process, and what is shown under the same name.
    pub(super) fn write_with<'v>(&self, desc: &Desc<'_>, value: impl Into<Value<'v>>, out: &mut dyn Sink) {
        match &self.0 {
            Some(shown) => shown.write_with(desc, value.into(), out),
            None => single(out, desc, value),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Source" } else { "none" })
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

struct Applications(Source);

impl Collector for Applications {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let shown =
            self.0.0.as_ref().ok_or_else(|| CollectError::Absent("an input of `applications`".into()))?;
        shown.write(out);
        Ok(())
    }
}
