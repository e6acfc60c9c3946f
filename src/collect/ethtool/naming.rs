//! The names of families that drivers' counts become.

use crate::collect::metric_name;
use std::collections::BTreeMap;

/// A count and its names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The driver's name, with underscores for what may not stand in a metric's name.
    pub key: String,
    /// The name of the family.
    pub name: String,
    pub value: u64,
}

/// The counts whose names are shown, sorted by the family's name. Where two have the same name, none is shown: it cannot
/// be told which is meant.
pub(super) fn named(counts: &[(String, u64)], shown: impl Fn(&str) -> bool) -> Vec<Named> {
    let mut found: BTreeMap<String, Option<Named>> = BTreeMap::new();
    for (driver, value) in counts {
        let key = metric_name(driver);
        if !shown(&key) {
            continue;
        }
        let name = family(&key);
        let one = Named { key, name: name.clone(), value: *value };
        found.entry(name).and_modify(|same| *same = None).or_insert(Some(one));
    }
    found.into_values().flatten().collect()
}

/// Name and help of the family of a count.
pub(super) fn about(key: &str, name: String) -> (String, String) {
    let help = match key {
        "rx_bytes" => "Network interface bytes received",
        "rx_dropped" => "Number of received frames dropped",
        "rx_errors" => "Number of received frames with errors",
        "rx_packets" => "Network interface packets received",
        "tx_bytes" => "Network interface bytes sent",
        "tx_errors" => "Number of sent frames with errors",
        "tx_packets" => "Network interface packets sent",
        _ => return (name, format!("Network interface {key}")),
    };
    (format!("{name}_total"), help.into())
}

/// `rx` and `tx` as words of their own are written out.
fn family(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    let mut words = Vec::new();
    // Each underscore belongs to one word only, as in the regular expression that node_exporter uses.
    let mut taken = false;
    for word in key.trim_start_matches('_').split('_') {
        let long = match word {
            "rx" if !taken => Some("received"),
            "tx" if !taken => Some("transmitted"),
            _ => None,
        };
        taken = long.is_some();
        words.push(long.unwrap_or(word));
    }
    format!("node_ethtool_{}", words.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_written_out_and_names_that_meet_are_left_out() {
        let counts = ["rx_bytes", "port.rx_dropped", "a b", "a_b", "Tx Queue 0"];
        let counts = counts.map(|name| (name.to_owned(), 1));
        let found = named(&counts, |key| key != "rx_missed");
        let names: Vec<(String, String)> = found.into_iter().map(|one| about(&one.key, one.name)).collect();
        assert_eq!(
            names,
            [
                ("node_ethtool_port_received_dropped", "Network interface port_rx_dropped"),
                ("node_ethtool_received_bytes_total", "Network interface bytes received"),
                ("node_ethtool_transmitted_queue_0", "Network interface Tx_Queue_0"),
            ]
            .map(|(name, help)| (name.to_owned(), help.to_owned()))
        );
    }
}
