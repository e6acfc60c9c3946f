//! The collector of bytes that wait in UDP sockets: /proc/net/udp and udp6 (`node_udp_queues`).

use super::{CollectError, Collector, Entry};
use crate::host::sockets::queues;
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "udp_queues",
    on: true,
    make: |host, _| Ok(Box::new(UdpQueues { v4: host.proc_file("net/udp"), v6: host.proc_file("net/udp6") })),
};

const QUEUES: Desc<'static> = Desc::gauge(
    "node_udp_queues",
    "Number of allocated memory in the kernel for UDP datagrams in bytes.",
    &["ip", "queue"],
);

struct UdpQueues {
    v4: Kept,
    v6: Kept,
}

impl Collector for UdpQueues {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let (v4, v6) = (self.v4.parse_lines(queues)?, self.v6.parse_lines(queues)?);
        if v4.is_none() && v6.is_none() {
            return Err(CollectError::Absent("net/udp".into()));
        }
        out.family(&QUEUES);
        for (ip, bytes) in [("v4", v4), ("v6", v6)] {
            if let Some((sent, received)) = bytes {
                out.sample(&[ip, "tx"], Value::U64(sent));
                out.sample(&[ip, "rx"], Value::U64(received));
            }
        }
        Ok(())
    }
}
