//! The collector of temperatures, under the name that node_exporter has on macOS (`node_thermal_temperature_celsius`).

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::collections::BTreeMap;
use sysinfo::Components;

/// This collector's line in the list.
pub(super) const ENTRY: Entry =
    Entry { name: "thermal", on: true, make: |_, _| Ok(Box::new(Thermal { sensors: None })) };

const TEMPERATURE: Desc<'static> = Desc::gauge(
    "node_thermal_temperature_celsius",
    "Temperature of the thermal sensor in Celsius.",
    &["sensor"],
);

struct Thermal {
    sensors: Option<Components>,
}

impl Collector for Thermal {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let sensors = match &mut self.sensors {
            Some(sensors) => sensors,
            None => self.sensors.insert(Components::new().map_err(failed)?),
        };
        sensors.refresh(true);
        let warmest = warmest(sensors.iter().map(|sensor| (sensor.label(), sensor.temperature())));
        if warmest.is_empty() {
            return Err(CollectError::Absent("a sensor of temperature".into()));
        }
        out.family(&TEMPERATURE);
        for (sensor, celsius) in warmest {
            out.sample(&[sensor], Value::F64(celsius));
        }
        Ok(())
    }
}

/// The temperature of each sensor that has one: of those with one name, the warmest.
fn warmest<'a>(sensors: impl Iterator<Item = (&'a str, Option<f32>)>) -> BTreeMap<&'a str, f64> {
    let mut out = BTreeMap::new();
    for (name, celsius) in sensors {
        let Some(celsius) = celsius.map(f64::from).filter(|celsius| celsius.is_finite()) else { continue };
        let known = out.entry(name).or_insert(celsius);
        *known = known.max(celsius);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    #[test]
    fn of_sensors_with_one_name_the_warmest_counts_and_those_without_a_number_do_not() {
        let sensors =
            [("a", Some(30.5)), ("a", Some(31.5)), ("a", Some(1.0)), ("b", None), ("c", Some(f32::NAN))];
        assert_eq!(warmest(sensors.into_iter()), BTreeMap::from([("a", 31.5)]));
    }

    #[test]
    fn a_machine_without_sensors_has_none_and_one_with_them_is_read() {
        let mut out = TextEncoder::default();
        let mut thermal = Thermal { sensors: None };
        match thermal.collect(&Host::default(), &mut out) {
            Ok(()) => assert!(String::from_utf8_lossy(out.page()).contains("{sensor=\"")),
            Err(e) => assert!(matches!(e, CollectError::Absent(_)), "{e}"),
        }
    }
}
