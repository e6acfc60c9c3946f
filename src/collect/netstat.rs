//! The collector of network protocols' counters: /proc/net/netstat, snmp and snmp6 (`node_netstat_*`).

use super::family::{Fields, Named};
use super::{CollectError, Collector, Entry, filter};
use crate::host::netstat::{count, counters, counters6};
use crate::host::{Host, Kept};
use crate::metric::{Kind, Sink};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netstat",
    on: true,
    make: |host, options| {
        Ok(Box::new(Netstat {
            wanted: filter::pattern("netstat.fields", &options.netstat.fields)?,
            stat: host.proc_file("net/netstat"),
            snmp: host.proc_file("net/snmp"),
            snmp6: host.proc_file("net/snmp6"),
            fields: Fields::default(),
        }))
    },
};

/// Which counters are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Counters as `Protocol_Name`, as a regular expression; all if empty.
    pub fields: String,
}

impl Default for Options {
    fn default() -> Self {
        // Of some 400 counters those that people look at.
        Self {
            fields:
                "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|\
                     TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
                     Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
                     Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$"
                    .into(),
        }
    }
}

struct Netstat {
    wanted: Option<Regex>,
    stat: Kept,
    snmp: Kept,
    /// Not there if the kernel has no IPv6.
    snmp6: Kept,
    fields: Fields,
}

impl Collector for Netstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { wanted, stat, snmp, snmp6, fields } = self;
        let make = |protocol: &str, name: &str| {
            let key = format!("{protocol}_{name}");
            wanted.as_ref().is_none_or(|pattern| pattern.is_match(&key)).then(|| {
                let help = format!("Statistic {protocol}{name}.");
                Named::new(format!("node_netstat_{key}"), help, Kind::Untyped, &[])
            })
        };
        fields.begin();
        let mut take = |protocol: &str, name: &str, value: &str| {
            fields.take((protocol, name), || count(value), || make(protocol, name))
        };
        stat.parse_lines(|text| counters(text, &mut take))?
            .ok_or_else(|| CollectError::Absent("net/netstat".into()))?;
        snmp.parse_lines(|text| counters(text, &mut take))?
            .ok_or_else(|| CollectError::Absent("net/snmp".into()))?;
        snmp6.parse_lines(|text| counters6(text, &mut take))?;
        fields.write(out);
        Ok(())
    }
}
