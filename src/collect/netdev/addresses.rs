//! The addresses of network devices (`node_network_address_info`).

use crate::collect::CollectError;
use crate::collect::filter::Choice;
use crate::host::link;
use crate::metric::{Desc, Sink, Value};
use std::net::IpAddr;

const INFO: Desc<'static> = Desc::gauge(
    "node_network_address_info",
    "node network address by device",
    &["address", "device", "netmask", "scope"],
);

/// The labels of one address.
pub(super) type Labels = [String; 4];

/// The addresses of the devices that are shown.
pub(super) fn read(choice: &Choice) -> Result<Vec<Labels>, CollectError> {
    let failed = |e| CollectError::Failed(format!("cannot ask for addresses by netlink: {e}"));
    let (links, addresses) = (link::links().map_err(failed)?, link::addresses().map_err(failed)?);
    let mut out: Vec<Labels> = Vec::new();
    for link in links.iter().filter(|link| choice.shows(&link.name)) {
        for found in addresses.iter().filter(|address| address.device == link.index) {
            let (address, scope) = (found.address.to_string(), scope(found.address).to_owned());
            let labels = [address, link.name.clone(), found.prefix.to_string(), scope];
            if !out.contains(&labels) {
                out.push(labels);
            }
        }
    }
    Ok(out)
}

/// Writes them.
pub(super) fn write(addresses: &[Labels], out: &mut dyn Sink) {
    if addresses.is_empty() {
        return;
    }
    out.family(&INFO);
    for labels in addresses {
        out.sample(&labels.each_ref().map(String::as_str), Value::U64(1));
    }
}

/// How far an address reaches, in node_exporter's words.
fn scope(address: IpAddr) -> &'static str {
    let (near, interface, global) = match address {
        IpAddr::V4(ip) => {
            let near_group = ip.octets()[..3] == [224, 0, 0];
            let global = !ip.is_broadcast() && !ip.is_unspecified() && !ip.is_multicast();
            (ip.is_loopback() || ip.is_link_local() || near_group, false, global)
        }
        IpAddr::V6(ip) => {
            let group = |scope: u16| ip.is_multicast() && ip.segments()[0] & 0xf == scope;
            let near = ip.is_loopback() || ip.is_unicast_link_local() || group(2);
            (near, group(1), !ip.is_unspecified() && !ip.is_multicast())
        }
    };
    match (near, interface, global) {
        (true, _, _) => "link-local",
        (_, true, _) => "interface-local",
        (_, _, true) => "global",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_of_an_address_is_its_reach() {
        for (address, reach) in [
            ("127.0.0.1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("224.0.0.5", "link-local"),
            ("10.0.0.1", "global"),
            ("255.255.255.255", ""),
            ("0.0.0.0", ""),
            ("::1", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("2001:db8::1", "global"),
            ("::", ""),
        ] {
            assert_eq!(scope(address.parse().unwrap()), reach, "{address}");
        }
    }
}
