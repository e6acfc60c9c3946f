//! The names of network devices' counts: those of /proc/net/dev, and the finer ones that netlink has.

use crate::metric::Desc;

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device"])
}

const RECEIVE_BYTES: Desc<'static> =
    counter("node_network_receive_bytes_total", "Network device statistic receive_bytes.");
const RECEIVE_PACKETS: Desc<'static> =
    counter("node_network_receive_packets_total", "Network device statistic receive_packets.");
const RECEIVE_ERRORS: Desc<'static> =
    counter("node_network_receive_errors_total", "Network device statistic receive_errors.");
const RECEIVE_DROPPED: Desc<'static> =
    counter("node_network_receive_dropped_total", "Network device statistic receive_dropped.");
const RECEIVE_COMPRESSED: Desc<'static> =
    counter("node_network_receive_compressed_total", "Network device statistic receive_compressed.");
const TRANSMIT_BYTES: Desc<'static> =
    counter("node_network_transmit_bytes_total", "Network device statistic transmit_bytes.");
const TRANSMIT_PACKETS: Desc<'static> =
    counter("node_network_transmit_packets_total", "Network device statistic transmit_packets.");
const TRANSMIT_ERRORS: Desc<'static> =
    counter("node_network_transmit_errors_total", "Network device statistic transmit_errors.");
const TRANSMIT_DROPPED: Desc<'static> =
    counter("node_network_transmit_dropped_total", "Network device statistic transmit_dropped.");
const TRANSMIT_COMPRESSED: Desc<'static> =
    counter("node_network_transmit_compressed_total", "Network device statistic transmit_compressed.");
const NO_HANDLER: Desc<'static> =
    counter("node_network_receive_nohandler_total", "Network device statistic receive_nohandler.");

/// In the order of the columns of /proc/net/dev, and the one count that it does not have.
pub(super) const PLAIN: [Desc<'static>; 17] = [
    RECEIVE_BYTES,
    RECEIVE_PACKETS,
    counter("node_network_receive_errs_total", "Network device statistic receive_errs."),
    counter("node_network_receive_drop_total", "Network device statistic receive_drop."),
    counter("node_network_receive_fifo_total", "Network device statistic receive_fifo."),
    counter("node_network_receive_frame_total", "Network device statistic receive_frame."),
    RECEIVE_COMPRESSED,
    counter("node_network_receive_multicast_total", "Network device statistic receive_multicast."),
    TRANSMIT_BYTES,
    TRANSMIT_PACKETS,
    counter("node_network_transmit_errs_total", "Network device statistic transmit_errs."),
    counter("node_network_transmit_drop_total", "Network device statistic transmit_drop."),
    counter("node_network_transmit_fifo_total", "Network device statistic transmit_fifo."),
    counter("node_network_transmit_colls_total", "Network device statistic transmit_colls."),
    counter("node_network_transmit_carrier_total", "Network device statistic transmit_carrier."),
    TRANSMIT_COMPRESSED,
    NO_HANDLER,
];

/// The same counts as node_exporter names them where detailed names are asked for and only the file is there.
pub(super) const PLAIN_RENAMED: [Desc<'static>; 17] = {
    let mut out = PLAIN;
    out[2] = RECEIVE_ERRORS;
    out[3] = RECEIVE_DROPPED;
    out[10] = TRANSMIT_ERRORS;
    out[11] = TRANSMIT_DROPPED;
    out
};

/// In the order of `struct rtnl_link_stats64`.
pub(in crate::collect) const DETAILED: [Desc<'static>; 24] = [
    RECEIVE_PACKETS,
    TRANSMIT_PACKETS,
    RECEIVE_BYTES,
    TRANSMIT_BYTES,
    RECEIVE_ERRORS,
    TRANSMIT_ERRORS,
    RECEIVE_DROPPED,
    TRANSMIT_DROPPED,
    counter("node_network_multicast_total", "Network device statistic multicast."),
    counter("node_network_collisions_total", "Network device statistic collisions."),
    counter("node_network_receive_length_errors_total", "Network device statistic receive_length_errors."),
    counter("node_network_receive_over_errors_total", "Network device statistic receive_over_errors."),
    counter("node_network_receive_crc_errors_total", "Network device statistic receive_crc_errors."),
    counter("node_network_receive_frame_errors_total", "Network device statistic receive_frame_errors."),
    counter("node_network_receive_fifo_errors_total", "Network device statistic receive_fifo_errors."),
    counter("node_network_receive_missed_errors_total", "Network device statistic receive_missed_errors."),
    counter(
        "node_network_transmit_aborted_errors_total",
        "Network device statistic transmit_aborted_errors.",
    ),
    counter(
        "node_network_transmit_carrier_errors_total",
        "Network device statistic transmit_carrier_errors.",
    ),
    counter("node_network_transmit_fifo_errors_total", "Network device statistic transmit_fifo_errors."),
    counter(
        "node_network_transmit_heartbeat_errors_total",
        "Network device statistic transmit_heartbeat_errors.",
    ),
    counter("node_network_transmit_window_errors_total", "Network device statistic transmit_window_errors."),
    RECEIVE_COMPRESSED,
    TRANSMIT_COMPRESSED,
    NO_HANDLER,
];

/// The counts of netlink as those of /proc/net/dev, which adds some up.
pub(super) fn plain(counts: &[u64; 23]) -> [u64; 16] {
    let [
        rx_packets,
        tx_packets,
        rx_bytes,
        tx_bytes,
        rx_errors,
        tx_errors,
        rx_dropped,
        tx_dropped,
        multicast,
        collisions,
        length,
        over,
        crc,
        frame,
        rx_fifo,
        missed,
        aborted,
        carrier,
        tx_fifo,
        heartbeat,
        window,
        rx_compressed,
        tx_compressed,
    ] = *counts;
    [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped.wrapping_add(missed),
        rx_fifo,
        length.wrapping_add(over).wrapping_add(crc).wrapping_add(frame),
        rx_compressed,
        multicast,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        tx_fifo,
        collisions,
        carrier.wrapping_add(aborted).wrapping_add(heartbeat).wrapping_add(window),
        tx_compressed,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netlinks_counts_make_those_of_the_file() {
        let mut counts = [0; 23];
        for (power, slot) in counts.iter_mut().enumerate() {
            *slot = 1 << power;
        }
        let bits = plain(&counts).map(u64::count_ones);
        assert_eq!(bits, [1, 1, 1, 2, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 4, 1]);
        assert_eq!(plain(&counts).iter().sum::<u64>(), (1 << 23) - 1, "each count is in one sum");
    }

    #[test]
    fn a_kernel_that_is_read_in_both_ways_says_the_same() {
        let all = crate::host::link::links().unwrap();
        let text = std::fs::read_to_string("/proc/net/dev").unwrap();
        let mut same = 0;
        for device in crate::host::net::devices(&text).map(Result::unwrap) {
            let Some(link) = all.iter().find(|link| link.name == device.name) else { continue };
            let told = plain(&link.counts.unwrap());
            // Packets come between the two questions; each count may only have grown.
            assert!(told.iter().zip(device.counts).all(|(before, after)| *before <= after), "{link:?}");
            same += 1;
        }
        assert!(same > 0);
    }
}
