//! The collector of watchdogs, which restart a machine that hangs: /sys/class/watchdog (`node_watchdog_*`).

use super::family::{Opening, by_name, whole};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::Reader;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "watchdog",
    on: true,
    make: |host, _| {
        Ok(Box::new(Watchdog {
            devices: Listing::new(host.sysfs.join("class/watchdog")).told_by(&host.arrivals),
        }))
    },
};

/// The attributes that are texts, in the order of the labels of [`INFO`] without the name.
const TEXTS: [&str; 5] = ["identity", "options", "pretimeout_governor", "state", "status"];
const INFO: Desc<'static> = Desc::gauge(
    "node_watchdog_info",
    "Info of /sys/class/watchdog/<watchdog>",
    &["identity", "name", "options", "pretimeout_governor", "state", "status"],
);

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["name"])
}

/// The attributes that are numbers, and their families.
const NUMBERS: [(&str, Desc<'static>); 7] = [
    ("bootstatus", gauge("node_watchdog_bootstatus", "Value of /sys/class/watchdog/<watchdog>/bootstatus")),
    ("fw_version", gauge("node_watchdog_fw_version", "Value of /sys/class/watchdog/<watchdog>/fw_version")),
    ("nowayout", gauge("node_watchdog_nowayout", "Value of /sys/class/watchdog/<watchdog>/nowayout")),
    ("timeleft", gauge("node_watchdog_timeleft_seconds", "Value of /sys/class/watchdog/<watchdog>/timeleft")),
    ("timeout", gauge("node_watchdog_timeout_seconds", "Value of /sys/class/watchdog/<watchdog>/timeout")),
    (
        "pretimeout",
        gauge("node_watchdog_pretimeout_seconds", "Value of /sys/class/watchdog/<watchdog>/pretimeout"),
    ),
    ("access_cs0", gauge("node_watchdog_access_cs0", "Value of /sys/class/watchdog/<watchdog>/access_cs0")),
];

struct Watchdog {
    devices: Listing<Attributes>,
}

impl Collector for Watchdog {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { devices } = self;
        devices
            .refresh(|path, _, _| Some(Attributes::new(path, &TEXTS, &NUMBERS.map(|(name, _)| name))))?
            .ok_or_else(|| CollectError::Absent("class/watchdog".into()))?;
        let mut reader = Reader::default();
        for (_, device) in devices.items_mut() {
            device.read(&mut reader)?;
        }
        for (place, (_, desc)) in NUMBERS.iter().enumerate() {
            let samples = devices.items().map(|(name, device)| (name, device.number(place).map(whole)));
            by_name(out, desc, samples);
        }
        let mut info = Opening::new(&INFO);
        for (name, device) in devices.items() {
            let text = |place| device.text(place).unwrap_or_default();
            info.sample(out, &[text(0), name, text(1), text(2), text(3), text(4)], Value::U64(1));
        }
        Ok(())
    }
}
