//! The collector of network protocols' counters: /proc/net/netstat, snmp and snmp6 (`node_netstat_*`).

use super::family::{Fields, Named};
use super::{CollectError, Collector, Entry, OptionError, filter};
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
            wanted: Wanted::new(&options.netstat)?,
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

/// Which counters are shown.
enum Wanted {
    All,
    /// Those of [`Options::default`]. Its regular expression takes as long for 400 names as all else in ten passes.
    Usual,
    Matching(Regex),
}

impl Wanted {
    fn new(options: &Options) -> Result<Self, OptionError> {
        if *options == Options::default() {
            return Ok(Self::Usual);
        }
        let pattern = filter::pattern("netstat.fields", &options.fields)?;
        Ok(pattern.map_or(Self::All, Self::Matching))
    }

    fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Usual => usual(key),
            Self::Matching(pattern) => pattern.is_match(key),
        }
    }
}

/// Whether a counter is one of [`Options::default`].
fn usual(key: &str) -> bool {
    if matches!(key.rsplit_once('_'), Some((_, "InErrors" | "InErrs"))) {
        return true;
    }
    let Some((protocol, name)) = key.split_once('_') else { return false };
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

struct Netstat {
    wanted: Wanted,
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
            wanted.has(&key).then(|| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_counters_are_those_of_the_default_pattern() {
        let pattern = Regex::new(&Options::default().fields).unwrap();
        // All words of the pattern behind all protocols, and what stands near to them.
        let fields = Options::default().fields;
        let words = fields.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<&str> =
            words.chain(["Listen", "ListenDrops", "SyncookiesSent", "XListen", "X"]).collect();
        let (mut wanted, mut others) = (0, 0);
        for protocol in
            ["Ip", "Ip6", "IpExt", "Icmp", "Icmp6", "Tcp", "TcpExt", "Udp", "Udp6", "UdpLite", "X"]
        {
            for word in &words {
                for key in [
                    format!("{protocol}_{word}"),
                    format!("{protocol}_{word}X"),
                    format!("{protocol}_X_{word}"),
                ] {
                    assert_eq!(usual(&key), pattern.is_match(&key), "{key}");
                    *if usual(&key) { &mut wanted } else { &mut others } += 1;
                }
            }
        }
        assert!(wanted > 60 && others > 500, "{wanted} {others}");
        assert!(!usual("InErrors") && !pattern.is_match("InErrors"));
    }

    #[test]
    fn other_counters_are_shown_if_they_are_asked_for() {
        let wanted = |fields: &str| Wanted::new(&Options { fields: fields.to_owned() });
        assert!(wanted("").unwrap().has("X_y") && wanted("^X").unwrap().has("X_y"));
        assert!(!wanted("^Y").unwrap().has("X_y") && wanted("(").is_err());
    }
}
