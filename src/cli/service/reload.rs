//! What the page says of the configuration in use: its version's program, and how its last reload went.

use super::seconds_now;
use anyhow::Result;
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// The gauges of reloads, registered and set for the first configuration.
pub(super) fn gauges(registry: &Registry) -> Result<(IntGauge, Gauge)> {
    let reloaded = IntGauge::new(
        "headroom_config_last_reload_successful",
        "Whether the last reload of the configuration succeeded.",
    )?;
    let at = Gauge::new(
        "headroom_config_last_reload_success_timestamp_seconds",
        "When the configuration was last read successfully.",
    )?;
    let opts = Opts::new("headroom_build_info", "A constant 1 with the version of Headroom.");
    let build = IntGaugeVec::new(opts, &["version"])?;
    registry.register(Box::new(reloaded.clone()))?;
    registry.register(Box::new(at.clone()))?;
    registry.register(Box::new(build.clone()))?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    reloaded.set(1);
    at.set(seconds_now());
    Ok((reloaded, at))
}
