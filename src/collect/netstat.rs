//! The collector of network protocols' counters: /proc/net/netstat, snmp and snmp6 (`node_netstat_*`).

use super::family::{Fields, Named, is_name, whole};
use super::{CollectError, Collector, Entry, OptionError, filter};
use crate::host::netstat::{Pair, count, counters6, pairs};
use crate::host::{Host, Kept, ParseError};
use crate::metric::{Kind, Sink, single};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netstat",
    on: true,
    make: |host, options| {
        Ok(Box::new(Netstat {
            counters: Counters {
                wanted: Wanted::new(&options.netstat)?,
                lines: Vec::new(),
                count: 0,
                fields: Fields::default(),
            },
            stat: host.proc_file("net/netstat"),
            snmp: host.proc_file("net/snmp"),
            snmp6: host.proc_file("net/snmp6"),
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
    counters: Counters,
    stat: Kept,
    snmp: Kept,
    /// Not there if the kernel has no IPv6.
    snmp6: Kept,
}

/// The counters of a pass. What they are called is found out once for each line of names, and anew if that is another one.
struct Counters {
    wanted: Wanted,
    /// The pairs of lines of the first two files, and how many of them this pass has so far.
    lines: Vec<Line>,
    count: usize,
    /// The counters of the third file, which has a name in each line.
    fields: Fields,
}

/// A line of names, and the counters below it that are shown.
struct Line {
    names: String,
    count: usize,
    shown: Vec<Counter>,
}

struct Counter {
    /// The place of its number in the line.
    place: usize,
    family: Named,
    value: i128,
}

impl Counters {
    fn begin(&mut self) {
        self.count = 0;
        self.fields.begin();
    }

    /// Takes the counters of netstat or snmp.
    fn take(&mut self, text: &str) -> Result<(), ParseError> {
        for pair in pairs(text) {
            let pair = pair?;
            if self.lines.get(self.count).is_none_or(|line| line.names != pair.line) {
                self.find(&pair);
            }
            if let Some(line) = self.lines.get_mut(self.count) {
                line.read(&pair)?;
            }
            self.count += 1;
        }
        Ok(())
    }

    /// Takes the counters of snmp6.
    fn take_six(&mut self, text: &str) -> Result<(), ParseError> {
        let Self { wanted, lines, fields, .. } = self;
        counters6(text, |protocol, name, value| {
            fields.take((protocol, name), || count(value), || family(wanted, lines, (protocol, name)))
        })
    }

    /// Finds out which counters of a pair of lines are shown; what stands behind it is found out anew too.
    fn find(&mut self, pair: &Pair<'_>) {
        self.fields = Fields::default();
        self.fields.begin();
        self.lines.truncate(self.count);
        self.lines.push(Line { names: pair.line.to_owned(), count: 0, shown: Vec::new() });
        for (place, name) in pair.names().enumerate() {
            let family = family(&self.wanted, &self.lines, name);
            if let Some(line) = self.lines.last_mut() {
                line.count += 1;
                line.shown.extend(family.map(|family| Counter { place, family, value: 0 }));
            }
        }
    }

    fn write(&self, out: &mut dyn Sink) {
        for Counter { family, value, .. } in self.lines.iter().take(self.count).flat_map(|line| &line.shown) {
            single(out, &family.desc(), whole(*value));
        }
        self.fields.write(out);
    }
}

impl Line {
    fn read(&mut self, pair: &Pair<'_>) -> Result<(), ParseError> {
        let mut shown = self.shown.iter_mut().peekable();
        pair.numbers(self.count, |place, number| {
            if let Some(counter) = shown.next_if(|counter| counter.place == place) {
                counter.value = count(number)?;
            }
            Ok(())
        })
    }
}

/// The family of a counter, if it is shown and none of the lines has it: a damaged file could say a name twice, or nonsense.
fn family(wanted: &Wanted, lines: &[Line], (protocol, name): (&str, &str)) -> Option<Named> {
    let key = format!("{protocol}_{name}");
    if !wanted.has(&key) {
        return None;
    }
    let full = format!("node_netstat_{key}");
    let is_free = is_name(&full) && !lines.iter().flat_map(|line| &line.shown).any(|c| c.family.name == full);
    is_free.then(|| Named::new(full, format!("Statistic {protocol}{name}."), Kind::Untyped, &[]))
}

impl Collector for Netstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { counters, stat, snmp, snmp6 } = self;
        counters.begin();
        let absent = |name: &str| CollectError::Absent(name.into());
        stat.parse_lines(|text| counters.take(text))?.ok_or_else(|| absent("net/netstat"))?;
        snmp.parse_lines(|text| counters.take(text))?.ok_or_else(|| absent("net/snmp"))?;
        snmp6.parse_lines(|text| counters.take_six(text))?;
        counters.write(out);
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
    fn lines_of_names_are_understood_once_and_anew_when_they_change() {
        let mut counters =
            Counters { wanted: Wanted::All, lines: Vec::new(), count: 0, fields: Fields::default() };
        let mut pass = |text: &str, six: &str| {
            counters.begin();
            counters.take(text)?;
            counters.take_six(six)?;
            let mut out = crate::encode::text::TextEncoder::default();
            counters.write(&mut out);
            let page = String::from_utf8(out.page().to_vec()).unwrap();
            let samples = page.lines().filter_map(|line| line.strip_prefix("node_netstat_"));
            Ok::<_, ParseError>(samples.collect::<Vec<_>>().join(" "))
        };
        let two = "A: x y\nA: 1 -2\nB: z\nB: 3\n";
        for _ in 0..2 {
            assert_eq!(pass(two, "C6w 4\n").unwrap(), "A_x 1 A_y -2 B_z 3 C6_w 4");
        }
        assert_eq!(pass("A: x y\nA: 5 6\n", "C6w 4\n").unwrap(), "A_x 5 A_y 6 C6_w 4");
        assert_eq!(pass("A: y v\nA: 7 8\nB: z\nB: 3\n", "").unwrap(), "A_y 7 A_v 8 B_z 3");
        assert_eq!(pass("A: y v\nA: 7 8\nC6: w w\nC6: 1 2\n", "C6w 4\n").unwrap(), "A_y 7 A_v 8 C6_w 1");
        for broken in ["A: y v\nA: 7\n", "A: y v\nA: 7 8 9\n", "A: y v\n", "A: y v\nB: 7 8\n", "A: y\nA: x\n"]
        {
            assert!(pass(broken, "").is_err(), "{broken}");
        }
        assert_eq!(pass(two, "C6w 4\n").unwrap(), "A_x 1 A_y -2 B_z 3 C6_w 4");
    }

    #[test]
    fn other_counters_are_shown_if_they_are_asked_for() {
        let wanted = |fields: &str| Wanted::new(&Options { fields: fields.to_owned() });
        assert!(wanted("").unwrap().has("X_y") && wanted("^X").unwrap().has("X_y"));
        assert!(!wanted("^Y").unwrap().has("X_y") && wanted("(").is_err());
    }
}
