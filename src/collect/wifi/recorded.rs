//! Wireless devices that were written down as JSON: node_exporter's form, for tests where there are none.

use crate::collect::CollectError;
use crate::host::read_once;
use crate::host::wifi::{Interface, Mode, Network, Station};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

#[derive(Default, Deserialize)]
#[serde(default)]
struct RecordedInterface {
    name: String,
    frequency: u32,
}

#[derive(Deserialize)]
struct RecordedNetwork {
    ssid: String,
    bssid: String,
    status: u32,
}

/// Times are nanoseconds; what is not there is 0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RecordedStation {
    #[serde(rename = "hardwareaddr")]
    address: String,
    connected: u64,
    inactive: u64,
    #[serde(rename = "receivebitrate")]
    receive_bitrate: u64,
    #[serde(rename = "transmitbitrate")]
    transmit_bitrate: u64,
    signal: i64,
    #[serde(rename = "transmitretries")]
    retries: u64,
    #[serde(rename = "transmitfailed")]
    failed: u64,
    #[serde(rename = "beaconloss")]
    beacon_loss: u64,
}

/// The devices in `interfaces.json`, and what the directory of each tells.
pub(super) fn interfaces(directory: &Path) -> Result<Option<Vec<Interface>>, CollectError> {
    let Some(all) = json::<Vec<RecordedInterface>>(&directory.join("interfaces.json"))? else {
        return Ok(None);
    };
    let mut out = Vec::new();
    for RecordedInterface { name, frequency } in all.into_iter().filter(|one| !one.name.is_empty()) {
        let network = json::<RecordedNetwork>(&directory.join(&name).join("bss.json"))?;
        let stations = json::<Vec<RecordedStation>>(&directory.join(&name).join("stationinfo.json"))?;
        out.push(Interface {
            name,
            frequency_megahertz: Some(frequency),
            network: network.map(|network| Network {
                bssid: base64(&network.bssid),
                ssid: network.ssid,
                // One more kind than the kernel's: 2 is a network that the device is no part of.
                mode: match network.status {
                    0 | 1 => Mode::Client,
                    3 => Mode::AdHoc,
                    _ => Mode::Unknown,
                },
            }),
            stations: stations.unwrap_or_default().iter().map(RecordedStation::station).collect(),
            ..Interface::default()
        });
    }
    Ok(Some(out))
}

impl RecordedStation {
    fn station(&self) -> Station {
        Station {
            address: base64(&self.address),
            connected_seconds: Some(self.connected / 1_000_000_000),
            inactive_milliseconds: Some(self.inactive / 1_000_000),
            receive_bits_per_second: Some(self.receive_bitrate),
            transmit_bits_per_second: Some(self.transmit_bitrate),
            received_bytes: Some(0),
            transmitted_bytes: Some(0),
            signal_dbm: Some(self.signal),
            transmit_retries: Some(self.retries),
            transmit_failed: Some(self.failed),
            beacon_loss: Some(self.beacon_loss),
            transmitted_packets: Some(0),
            received_packets: Some(0),
        }
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CollectError> {
    let Some(text) = read_once(path)? else { return Ok(None) };
    let error = |e| CollectError::Failed(format!("cannot understand {}: {e}", path.display()));
    serde_json::from_str(&text).map(Some).map_err(error)
}

/// The bytes of a text in base64; what is no such letter is passed over.
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for six in
        text.chars().filter_map(|letter| LETTERS.find(letter)).filter_map(|six| u32::try_from(six).ok())
    {
        bits = (bits << 6) | six;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.extend((bits >> held).to_le_bytes().first());
            bits &= (1 << held) - 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn addresses_are_written_in_base64() {
        assert_eq!(base64("ABEiM0RV"), [0x00, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(base64("qrvM3e7/"), [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!((base64("AQ=="), base64("")), (vec![1], vec![]));
    }
}
