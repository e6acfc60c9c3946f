//! The collector of network devices: bytes, packets and errors (`node_network_*_total`).

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::collections::BTreeMap;
use sysinfo::{NetworkData, Networks};

/// This collector's line in the list.
pub(super) const ENTRY: Entry =
    Entry { name: "netdev", on: true, make: |_, _| Ok(Box::new(Netdev { networks: None })) };

/// A family, and where its number stands.
type Family = (&'static str, &'static str, fn(&NetworkData) -> u64);

const FAMILIES: [Family; 6] = [
    (
        "node_network_receive_bytes_total",
        "Network device statistic receive_bytes.",
        NetworkData::total_received,
    ),
    (
        "node_network_receive_packets_total",
        "Network device statistic receive_packets.",
        NetworkData::total_packets_received,
    ),
    (
        "node_network_receive_errs_total",
        "Network device statistic receive_errs.",
        NetworkData::total_errors_on_received,
    ),
    (
        "node_network_transmit_bytes_total",
        "Network device statistic transmit_bytes.",
        NetworkData::total_transmitted,
    ),
    (
        "node_network_transmit_packets_total",
        "Network device statistic transmit_packets.",
        NetworkData::total_packets_transmitted,
    ),
    (
        "node_network_transmit_errs_total",
        "Network device statistic transmit_errs.",
        NetworkData::total_errors_on_transmitted,
    ),
];

struct Netdev {
    networks: Option<Networks>,
}

impl Collector for Netdev {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let networks = match &mut self.networks {
            Some(networks) => networks,
            None => self.networks.insert(Networks::new().map_err(failed)?),
        };
        networks.refresh(true);
        let devices: BTreeMap<String, &NetworkData> =
            networks.iter().map(|(name, data)| (name.to_string_lossy().into_owned(), data)).collect();
        for (name, help, value) in FAMILIES {
            out.family(&Desc::counter(name, help, &["device"]));
            for (device, data) in &devices {
                out.sample(&[device], Value::U64(value(data)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{linux, page, value};
    use super::*;

    #[test]
    fn devices_and_counts_are_those_of_the_kernel() {
        let before = linux("netdev");
        let ours = page(&ENTRY);
        let after = linux("netdev");
        let mut compared = 0;
        for (name, ..) in FAMILIES {
            for line in after.lines().filter(|line| line.starts_with(&format!("{name}{{"))) {
                let series = line.rsplit_once(' ').unwrap().0;
                let (low, high) = (value(&before, series), value(&after, series));
                let found = value(&ours, series);
                assert!((low..=high).contains(&found), "{series}: {found}, the kernel says {low} to {high}");
                compared += 1;
            }
        }
        assert!(compared >= FAMILIES.len(), "no device was compared");
    }
}
