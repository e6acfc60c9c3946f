//! The collector of batteries and power adapters: /sys/class/power_supply (`node_power_supply_*`).

use super::family::{Named, Opening, by_name, whole};
use super::{CollectError, Collector, Entry, filter};
use crate::host::attribute::Reader;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Kind, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "powersupplyclass",
    on: true,
    make: |host, options| {
        let key = "powersupply.ignored_supplies";
        Ok(Box::new(PowerSupplies {
            ignored: filter::pattern(key, &options.powersupply.ignored_supplies)?,
            families: NUMBERS.map(|(_, name, _)| {
                let help = format!("{name} value of /sys/class/power_supply/<power_supply>.");
                Named::new(format!("node_power_supply_{name}"), help, Kind::Gauge, &["power_supply"])
            }),
            supplies: Listing::new(host.sysfs.join("class/power_supply")).told_by(&host.arrivals),
        }))
    },
};

/// Which supplies are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of supplies that are left out, as a regular expression; none if empty.
    pub ignored_supplies: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { ignored_supplies: "^$".into() }
    }
}

const INFO: Desc<'static> = Desc::gauge(
    "node_power_supply_info",
    "info of /sys/class/power_supply/<power_supply>.",
    &[
        "capacity_level",
        "charge_type",
        "health",
        "manufacturer",
        "model_name",
        "power_supply",
        "scope",
        "serial_number",
        "status",
        "technology",
        "type",
        "usb_type",
    ],
)
.sparse();
/// The place of the supply's name among the labels.
const NAME: usize = 5;
/// The attributes that are texts, in the order of the labels without the name.
const TEXTS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

/// The kernel counts amounts in millionths, and temperatures in tenths of a degree.
const ONE: f64 = 1.0;
const MILLIONTH: f64 = 1e6;
const TENTH: f64 = 10.0;

/// The attributes that are numbers; what the family of each is called; and how many of the kernel's units are one.
const NUMBERS: [(&str, &str, f64); 49] = [
    ("authentic", "authentic", ONE),
    ("calibrate", "calibrate", ONE),
    ("capacity", "capacity", ONE),
    ("capacity_alert_max", "capacity_alert_max", ONE),
    ("capacity_alert_min", "capacity_alert_min", ONE),
    ("charge_control_limit", "charge_control_limit", MILLIONTH),
    ("charge_control_limit_max", "charge_control_limit_max", MILLIONTH),
    ("charge_counter", "charge_counter", MILLIONTH),
    ("charge_empty", "charge_empty", MILLIONTH),
    ("charge_empty_design", "charge_empty_design", MILLIONTH),
    ("charge_full", "charge_full", MILLIONTH),
    ("charge_full_design", "charge_full_design", MILLIONTH),
    ("charge_now", "charge_ampere", MILLIONTH),
    ("charge_term_current", "charge_term_current", MILLIONTH),
    ("constant_charge_current", "constant_charge_current", MILLIONTH),
    ("constant_charge_current_max", "constant_charge_current_max", MILLIONTH),
    ("constant_charge_voltage", "constant_charge_voltage", MILLIONTH),
    ("constant_charge_voltage_max", "constant_charge_voltage_max", MILLIONTH),
    ("current_boot", "current_boot", MILLIONTH),
    ("current_max", "current_max", MILLIONTH),
    ("current_now", "current_ampere", MILLIONTH),
    ("cycle_count", "cyclecount", ONE),
    ("energy_empty", "energy_empty", MILLIONTH),
    ("energy_empty_design", "energy_empty_design", MILLIONTH),
    ("energy_full", "energy_full", MILLIONTH),
    ("energy_full_design", "energy_full_design", MILLIONTH),
    ("energy_now", "energy_watthour", MILLIONTH),
    ("input_current_limit", "input_current_limit", MILLIONTH),
    ("online", "online", ONE),
    ("power_now", "power_watt", MILLIONTH),
    ("precharge_current", "precharge_current", MILLIONTH),
    ("present", "present", ONE),
    ("temp", "temp_celsius", TENTH),
    ("temp_alert_max", "temp_alert_max_celsius", TENTH),
    ("temp_alert_min", "temp_alert_min_celsius", TENTH),
    ("temp_ambient", "temp_ambient_celsius", TENTH),
    ("temp_ambient_max", "temp_ambient_max_celsius", TENTH),
    ("temp_ambient_min", "temp_ambient_min_celsius", TENTH),
    ("temp_max", "temp_max_celsius", TENTH),
    ("temp_min", "temp_min_celsius", TENTH),
    ("time_to_empty_now", "time_to_empty_seconds", ONE),
    ("time_to_full_now", "time_to_full_seconds", ONE),
    ("voltage_boot", "voltage_boot", MILLIONTH),
    ("voltage_max", "voltage_max", MILLIONTH),
    ("voltage_max_design", "voltage_max_design", MILLIONTH),
    ("voltage_min", "voltage_min", MILLIONTH),
    ("voltage_min_design", "voltage_min_design", MILLIONTH),
    ("voltage_now", "voltage_volt", MILLIONTH),
    ("voltage_ocv", "voltage_ocv", MILLIONTH),
];

struct PowerSupplies {
    ignored: Option<Regex>,
    /// Names and helps in the order of [`NUMBERS`].
    families: [Named; 49],
    supplies: Listing<Attributes>,
}

impl Collector for PowerSupplies {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { ignored, families, supplies } = self;
        supplies
            .refresh(|path, name, _| {
                let shown = ignored.as_ref().is_none_or(|pattern| !pattern.is_match(name));
                shown.then(|| Attributes::new(path, &TEXTS, &NUMBERS.map(|(name, ..)| name)))
            })?
            .ok_or_else(|| CollectError::Absent("class/power_supply".into()))?;
        let mut reader = Reader::default();
        for (_, supply) in supplies.items_mut() {
            supply.read(&mut reader)?;
        }
        for (place, (family, (.., unit))) in families.iter().zip(NUMBERS).enumerate() {
            let value = |supply: &Attributes| {
                let number = supply.number(place)?;
                Some(if unit > ONE { Value::F64(number as f64 / unit) } else { whole(number) })
            };
            by_name(out, &family.desc(), supplies.items().map(|(name, supply)| (name, value(supply))));
        }
        let mut info = Opening::new(&INFO);
        for (name, supply) in supplies.items().filter(|(_, supply)| supply.any()) {
            let mut labels = [name; INFO.labels.len()];
            let slots = labels.iter_mut().enumerate().filter(|(place, _)| *place != NAME);
            for (text, (_, slot)) in slots.enumerate() {
                *slot = supply.text(text).unwrap_or_default();
            }
            info.sample(out, &labels, Value::U64(1));
        }
        Ok(())
    }
}
