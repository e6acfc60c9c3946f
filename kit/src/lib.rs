//! What an application links to take part in Headroom: it measures itself, and gives memory back when it is asked to.
//!
//! A [`Kit`] is one registry: of [parts](part::Part) that hold memory, of metrics, of health. Caches, pools and lazily
//! loaded values register themselves by being made. [`Hook`] serves all of it, by the protocol of `docs/app-hook.md`.
//!
//! ```no_run
//! use headroom_kit::{Hook, Kit};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kit = Kit::new();
//! # #[cfg(feature = "cache")]
//! let thumbnails: headroom_kit::Cache<String, Vec<u8>> =
//!     headroom_kit::Cache::new(&kit, "thumbnails", headroom_kit::cache::Options {
//!         bytes_max: 200 << 20,
//!         ..headroom_kit::cache::Options::default()
//!     }, Vec::len)?;
//! let serving = kit.serve(Hook::new("127.0.0.1:8089").token_file("hook-token"))?;
//! # Ok(())
//! # }
//! ```

pub mod allocator;
#[cfg(feature = "cache")]
pub mod cache;
pub mod health;
pub mod hook;
pub mod lazy;
pub mod lifecycle;
pub mod memory;
pub mod metrics;
pub mod part;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "jemalloc-profile")]
pub mod profile;
pub mod reclaim;
pub mod requests;
pub mod stream;
mod sys;

#[cfg(feature = "cache")]
pub use cache::Cache;
pub use hook::{Hook, Serving};
pub use lazy::Lazy;
pub use lifecycle::Lifecycle;
pub use part::{About, Part, Urgency};
#[cfg(feature = "pool")]
pub use pool::Pool;
pub use reclaim::Reclaim;
pub use requests::Requests;
pub use stream::Stream;

use health::Health;
use metrics::Metrics;

/// Everything that one process registers; clones are the same one.
#[derive(Clone, Debug)]
pub struct Kit {
    metrics: Metrics,
    reclaim: Reclaim,
    health: Health,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new()
    }
}

impl Kit {
    /// With metrics of its own, the process's memory among them, and with the allocator as the first part.
    pub fn new() -> Self {
        Self::over(prometheus::Registry::new())
    }

    /// The same, over the registry of metrics that the application has already.
    pub fn over(registry: prometheus::Registry) -> Self {
        let metrics = Metrics::over(registry);
        memory::register(&metrics);
        let reclaim = Reclaim::new(&metrics);
        for (about, part) in allocator::parts() {
            reclaim.add(about, part).unwrap_or_else(|e| tracing::error!("the allocator is no part: {e}"));
        }
        let health = Health::new(&metrics);
        Self { metrics, reclaim, health }
    }

    /// Metrics, the application's own among them.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What holds memory, and gives it back.
    pub fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    /// How the application's components are.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Serves all of it on a thread of its own, until what it returns is dropped.
    pub fn serve(&self, hook: Hook) -> Result<Serving, hook::HookError> {
        hook::serve(self.clone(), hook)
    }
}
