//! The collector of wireless devices: frequency, network, stations (`node_wifi_*`).

mod recorded;

use super::table::{Row, signed, write};
use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::host::wifi::{self, Interface, Mode, Station};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::io::ErrorKind::PermissionDenied;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "wifi",
    on: false,
    make: |_, options| Ok(Box::new(Wifi { fixtures: options.wifi.fixtures.clone() })),
};

/// Where devices are read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A directory with devices that were written down, for tests.
    pub fixtures: String,
}

const FREQUENCY: Desc<'static> = Desc::gauge(
    "node_wifi_interface_frequency_hertz",
    "The current frequency a WiFi interface is operating at, in hertz.",
    &["device"],
);
const INFO: Desc<'static> = Desc::gauge(
    "node_wifi_station_info",
    "Labeled WiFi interface station information as provided by the operating system.",
    &["bssid", "device", "mode", "ssid"],
);

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device", "mac_address"])
}

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["device", "mac_address"])
}

type Count = fn(&Station) -> Option<Value<'static>>;

const STATIONS: [(Desc<'static>, Count); 12] = [
    (
        counter(
            "node_wifi_station_connected_seconds_total",
            "The total number of seconds a station has been connected to an access point.",
        ),
        |s| s.connected_seconds.map(Value::U64),
    ),
    (
        gauge(
            "node_wifi_station_inactive_seconds",
            "The number of seconds since any wireless activity has occurred on a station.",
        ),
        |s| s.inactive_milliseconds.map(|ms| Value::F64(ms as f64 / 1000.0)),
    ),
    (
        gauge(
            "node_wifi_station_receive_bits_per_second",
            "The current WiFi receive bitrate of a station, in bits per second.",
        ),
        |s| s.receive_bits_per_second.map(Value::U64),
    ),
    (
        gauge(
            "node_wifi_station_transmit_bits_per_second",
            "The current WiFi transmit bitrate of a station, in bits per second.",
        ),
        |s| s.transmit_bits_per_second.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_receive_bytes_total",
            "The total number of bytes received by a WiFi station.",
        ),
        |s| s.received_bytes.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_transmit_bytes_total",
            "The total number of bytes transmitted by a WiFi station.",
        ),
        |s| s.transmitted_bytes.map(Value::U64),
    ),
    (
        gauge(
            "node_wifi_station_signal_dbm",
            "The current WiFi signal strength, in decibel-milliwatts (dBm).",
        ),
        |s| s.signal_dbm.map(signed),
    ),
    (
        counter(
            "node_wifi_station_transmit_retries_total",
            "The total number of times a station has had to retry while sending a packet.",
        ),
        |s| s.transmit_retries.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_transmit_failed_total",
            "The total number of times a station has failed to send a packet.",
        ),
        |s| s.transmit_failed.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_beacon_loss_total",
            "The total number of times a station has detected a beacon loss.",
        ),
        |s| s.beacon_loss.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_transmitted_packets_total",
            "The total number of packets transmitted by a station.",
        ),
        |s| s.transmitted_packets.map(Value::U64),
    ),
    (
        counter(
            "node_wifi_station_received_packets_total",
            "The total number of packets received by a station.",
        ),
        |s| s.received_packets.map(Value::U64),
    ),
];

struct Wifi {
    fixtures: String,
}

impl Collector for Wifi {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let found = self.read()?.ok_or_else(|| CollectError::Absent("nl80211".into()))?;
        let (mut frequencies, mut networks, mut stations) = (Vec::new(), Vec::new(), Vec::new());
        for interface in &found {
            let hertz = interface.frequency_megahertz.map(|mega| Value::U64(u64::from(mega) * 1_000_000));
            frequencies.push(Row { labels: vec![interface.name.clone()], values: vec![hertz] });
            if let Some(network) = &interface.network {
                let mode = match network.mode {
                    Mode::Client => "client",
                    Mode::AdHoc => "ad-hoc",
                    Mode::Unknown => "unknown",
                };
                let labels = vec![
                    address(&network.bssid),
                    interface.name.clone(),
                    mode.to_owned(),
                    network.ssid.clone(),
                ];
                networks.push(Row { labels, values: vec![Some(Value::U64(1))] });
            }
            stations.extend(interface.stations.iter().map(|station| Row {
                labels: vec![interface.name.clone(), address(&station.address)],
                values: STATIONS.iter().map(|(_, count)| count(station)).collect(),
            }));
        }
        write(&[FREQUENCY], &frequencies, out);
        write(&[INFO], &networks, out);
        write(&STATIONS.map(|(desc, _)| desc), &stations, out);
        Ok(())
    }
}

impl Wifi {
    fn read(&self) -> Result<Option<Vec<Interface>>, CollectError> {
        if !self.fixtures.is_empty() {
            return recorded::interfaces(Path::new(&self.fixtures));
        }
        match wifi::interfaces() {
            Err(e) if e.kind() == PermissionDenied => Ok(None),
            Err(e) => Err(CollectError::Failed(format!("cannot ask for wireless devices by nl80211: {e}"))),
            Ok(found) => Ok(found),
        }
    }
}

/// An address as pairs of hexadecimal digits.
fn address(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
