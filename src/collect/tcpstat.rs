//! The collector of TCP connections by their state (`node_tcp_connection_states`).

use super::{CollectError, Collector, Entry};
use crate::host::plain::stamp;
use crate::host::{Host, tcp};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "tcpstat", on: false, make: |_, _| Ok(Box::new(Tcpstat)) };

const STATES: Desc<'static> =
    Desc::gauge("node_tcp_connection_states", "Number of connection states.", &["state"]);

/// The names of the kernel's states, from 1.
const NAMES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

struct Tcpstat;

impl Collector for Tcpstat {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let six = stamp(&host.procfs.join("net/tcp6")).is_some();
        let found = tcp::connections(six)
            .map_err(|e| CollectError::Failed(format!("cannot ask for TCP connections by sock_diag: {e}")))?;
        if found.states.is_empty() {
            return Ok(());
        }
        out.family(&STATES);
        let mut unknown = 0;
        for (state, count) in &found.states {
            match usize::from(*state).checked_sub(1).and_then(|place| NAMES.get(place)) {
                Some(name) => out.sample(&[name], Value::U64(*count)),
                None => unknown += count,
            }
        }
        if unknown > 0 {
            out.sample(&["unknown"], Value::U64(unknown));
        }
        out.sample(&["rx_queued_bytes"], Value::U64(found.received_bytes));
        out.sample(&["tx_queued_bytes"], Value::U64(found.sent_bytes));
        Ok(())
    }
}
