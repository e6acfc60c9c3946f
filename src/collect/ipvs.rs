//! The collector of the kernel's load balancer: /proc/net/ip_vs and ip_vs_stats (`node_ipvs_*`).

use super::{CollectError, Collector, Entry, OptionError};
use crate::host::ipvs::{Backend, backends, totals};
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value, single};
use serde::Deserialize;
use std::collections::BTreeMap;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "ipvs",
    on: true,
    make: |host, options| {
        Ok(Box::new(Ipvs {
            labels: labels(&options.ipvs.backend_labels)?,
            stats: host.proc_file("net/ip_vs_stats"),
            backends: host.proc_file("net/ip_vs"),
        }))
    },
};

/// How finely servers are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The labels of servers, separated by commas. Servers that agree in all of them are summed.
    pub backend_labels: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { backend_labels: "local_address,local_port,remote_address,remote_port,proto,local_mark".into() }
    }
}

/// A label of a server, and how it is taken.
type Label = (&'static str, fn(&Backend<'_>) -> String);

const LABELS: [Label; 6] = [
    ("local_address", |backend| backend.local.map(|(address, _)| address.to_string()).unwrap_or_default()),
    ("local_mark", |backend| backend.mark.to_owned()),
    ("local_port", |backend| backend.local.map_or(0, |(_, port)| port).to_string()),
    ("proto", |backend| backend.protocol.to_owned()),
    ("remote_address", |backend| backend.remote.0.to_string()),
    ("remote_port", |backend| backend.remote.1.to_string()),
];

const TOTALS: [Desc<'static>; 5] = [
    Desc::counter("node_ipvs_connections_total", "The total number of connections made.", &[]),
    Desc::counter("node_ipvs_incoming_packets_total", "The total number of incoming packets.", &[]),
    Desc::counter("node_ipvs_outgoing_packets_total", "The total number of outgoing packets.", &[]),
    Desc::counter("node_ipvs_incoming_bytes_total", "The total amount of incoming data.", &[]),
    Desc::counter("node_ipvs_outgoing_bytes_total", "The total amount of outgoing data.", &[]),
];
/// Name and help of a server's open connections, closing connections, and weight.
const BACKEND: [(&str, &str); 3] = [
    ("node_ipvs_backend_connections_active", "The current active connections by local and remote address."),
    (
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
    ("node_ipvs_backend_weight", "The current backend weight by local and remote address."),
];

struct Ipvs {
    labels: Vec<Label>,
    stats: Kept,
    backends: Kept,
}

impl Collector for Ipvs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { labels, stats, backends: file } = self;
        let totals =
            stats.parse_lines(totals)?.ok_or_else(|| CollectError::Absent("net/ip_vs_stats".into()))?;
        let mut sums: BTreeMap<Vec<String>, [u64; 3]> = BTreeMap::new();
        file.parse_lines(|text| {
            for backend in backends(text)? {
                let key = labels.iter().map(|(_, get)| get(&backend)).collect();
                let (active, inactive) = backend.connections;
                let sum = sums.entry(key).or_default();
                for (sum, count) in sum.iter_mut().zip([active, inactive, backend.weight]) {
                    *sum = sum.saturating_add(count);
                }
            }
            Ok(())
        })?
        .ok_or_else(|| CollectError::Absent("net/ip_vs".into()))?;
        for (desc, total) in TOTALS.iter().zip(totals) {
            single(out, desc, total);
        }
        if sums.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        for (i, (name, help)) in BACKEND.into_iter().enumerate() {
            out.family(&Desc::gauge(name, help, &names));
            for (key, sum) in &sums {
                let values: Vec<&str> = key.iter().map(String::as_str).collect();
                out.sample(&values, Value::U64(sum.get(i).copied().unwrap_or_default()));
            }
        }
        Ok(())
    }
}

/// The labels that an option asks for, in the order of their names.
fn labels(wanted: &str) -> Result<Vec<Label>, OptionError> {
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    match wanted.iter().find(|name| !LABELS.iter().any(|(label, _)| label == *name)) {
        Some(unknown) => Err(OptionError {
            key: "ipvs.backend_labels".into(),
            why: format!("`{unknown}` is no label; there are {}", LABELS.map(|(label, _)| label).join(", ")),
        }),
        None => Ok(LABELS.into_iter().filter(|(label, _)| wanted.contains(label)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_chosen_by_name_and_unknown_ones_are_named() {
        let names =
            |wanted: &str| labels(wanted).map(|l| l.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(names("proto,local_port").unwrap(), ["local_port", "proto"]);
        assert_eq!(names(&Options::default().backend_labels).unwrap().len(), 6);
        assert_eq!(names("").unwrap(), Vec::<&str>::new());
        assert!(names("proto,nosuch").unwrap_err().to_string().contains("`nosuch` is no label"));
    }
}
