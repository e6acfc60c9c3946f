//! Where listening sockets come from: bound here, or handed over by systemd.

use crate::serve::addresses::Addresses;
use crate::sys;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Binds one address; `key` is for the message.
pub(super) async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({key})"))
}

/// Binds all addresses.
pub(super) async fn bind_all(addresses: &Addresses, key: &str) -> Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    for address in addresses.iter() {
        sockets.push(bind(address, key).await?);
    }
    Ok(sockets)
}

/// The sockets that systemd listens on for this process (sd_listen_fds(3)).
pub(super) fn inherited() -> Result<Vec<TcpListener>> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables may be meant for whoever started this process.
    let count = variable("LISTEN_FDS").filter(|_| variable("LISTEN_PID") == Some(std::process::id()));
    let Some(count) = count.filter(|&count| count > 0) else {
        bail!(
            "no sockets from systemd: start this by a .socket unit, or without --web.systemd-socket (exporter.systemd_socket)"
        );
    };
    let sockets = sys::inherited_sockets(count).context("the sockets of LISTEN_FDS cannot be used")?;
    sockets
        .into_iter()
        .map(|socket| TcpListener::from_std(socket).context("an inherited socket cannot be used"))
        .collect()
}
