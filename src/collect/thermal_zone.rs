//! The collector of temperatures and of what cools: /sys/class/thermal (`node_thermal_zone_*`, `node_cooling_device_*`).

use super::family::{Opening, whole};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::Reader;
use crate::host::listing::numbered;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "thermal_zone",
    on: true,
    make: |host, _| {
        Ok(Box::new(ThermalZone {
            devices: Listing::new(host.sysfs.join("class/thermal")).told_by(&host.arrivals),
        }))
    },
};

const TEMPERATURE: Desc<'static> =
    Desc::gauge("node_thermal_zone_temp", "Zone temperature in Celsius", &["type", "zone"]);
const CURRENT: Desc<'static> = Desc::gauge(
    "node_cooling_device_cur_state",
    "Current throttle state of the cooling device",
    &["name", "type"],
);
const MAXIMUM: Desc<'static> = Desc::gauge(
    "node_cooling_device_max_state",
    "Maximum throttle state of the cooling device",
    &["name", "type"],
);

struct ThermalZone {
    devices: Listing<Device>,
}

struct Device {
    /// What stands behind `thermal_zone` or `cooling_device`.
    number: String,
    cools: bool,
    attributes: Attributes,
}

impl Collector for ThermalZone {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { devices } = self;
        let new = |path, number: &str, cools: bool| {
            let numbers: &[_] = if cools { &["cur_state", "max_state"] } else { &["temp"] };
            let attributes = Attributes::new(path, &["type"], numbers);
            Device { number: number.to_owned(), cools, attributes }
        };
        // A machine without sensors has no such directory; that is no failure.
        devices.refresh(|path, name, _| match numbered(name, "thermal_zone") {
            Some(number) => Some(new(path, number, false)),
            None => numbered(name, "cooling_device").map(|number| new(path, number, true)),
        })?;
        let mut reader = Reader::default();
        for (_, device) in devices.items_mut() {
            device.attributes.read(&mut reader)?;
        }
        let each =
            |cools| devices.items().map(|(_, device)| device).filter(move |device| device.cools == cools);
        let mut temperature = Opening::new(&TEMPERATURE);
        for zone in each(false) {
            if let Some(degrees) = zone.attributes.number(0) {
                let labels = [zone.attributes.text(0).unwrap_or_default(), &zone.number];
                temperature.sample(out, &labels, Value::F64(degrees as f64 / 1000.0));
            }
        }
        for (place, desc) in [CURRENT, MAXIMUM].iter().enumerate() {
            let mut family = Opening::new(desc);
            for device in each(true) {
                // A device that is just being removed tells not all of it.
                let Some(kind) = device.attributes.text(0) else { continue };
                if let Some(state) = device.attributes.number(place) {
                    family.sample(out, &[&device.number, kind], whole(state));
                }
            }
        }
        Ok(())
    }
}
