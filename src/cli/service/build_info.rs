//! What is built, as those who look for node_exporter ask for it.

use anyhow::Result;
use prometheus::{IntGauge, Opts, Registry};

/// The series by which dashboards of node_exporter list machines and scripts know that one answers. The version is Headroom's,
/// and what only a program in Go has is left out.
pub(super) fn node_exporter(registry: &Registry) -> Result<()> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let help = "A metric with a constant '1' value labeled by version, revision, branch, goversion from which node_exporter \
                was built, and the goos and goarch for the build.";
    let opts = Opts::new("node_exporter_build_info", help).const_label("goarch", arch);
    let build =
        IntGauge::with_opts(opts.const_label("goos", os).const_label("version", env!("CARGO_PKG_VERSION")))?;
    build.set(1);
    registry.register(Box::new(build))?;
    Ok(())
}
