//! The collector of routes: each with its device and router, and how many a device has (`node_network_route*`).

use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::host::route::{Route, routes};
use crate::metric::{Desc, Sink, Value};
use std::collections::BTreeMap;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "network_route", on: false, make: |_, _| Ok(Box::new(NetworkRoute)) };

const INFO: Desc<'static> = Desc::gauge(
    "node_network_route_info",
    "network routing table information",
    &["dest", "device", "gw", "priority", "proto", "src", "weight"],
);
const ROUTES: Desc<'static> = Desc::gauge("node_network_routes", "network routes by interface", &["device"]);

struct NetworkRoute;

impl Collector for NetworkRoute {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut found =
            routes().map_err(|e| CollectError::Failed(format!("cannot ask for routes by rtnetlink: {e}")))?;
        let mut devices: BTreeMap<String, u64> = BTreeMap::new();
        for route in &found {
            *devices.entry(route.device.clone()).or_default() += 1;
        }
        // The same route in two tables is one series.
        found.sort_unstable();
        found.dedup();
        write(&found, &devices, out);
        Ok(())
    }
}

fn write(found: &[Route], devices: &BTreeMap<String, u64>, out: &mut dyn Sink) {
    if found.is_empty() {
        return;
    }
    out.family(&INFO);
    for route in found {
        let priority = route.priority.to_string();
        let weight = route.weight.map_or_else(String::new, |weight| weight.to_string());
        let proto = protocol(route.protocol);
        let labels = [
            &*route.destination,
            &*route.device,
            &*route.gateway,
            &*priority,
            proto,
            &*route.source,
            &*weight,
        ];
        out.sample(&labels, Value::U64(1));
    }
    out.family(&ROUTES);
    for (device, count) in devices {
        out.sample(&[device], Value::U64(*count));
    }
}

/// Who made a route, in the words of `include/uapi/linux/rtnetlink.h`.
fn protocol(number: u8) -> &'static str {
    match number {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}
