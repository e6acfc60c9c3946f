//! The collector of hardware monitors: temperatures, fans, voltages, currents, power (`node_hwmon_*`).

mod family;

use super::board::{Board, Found, Unreadable};
use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::counted::is_dir;
use crate::host::hwmon::{clean, sensor_file};
use crate::host::{Host, HostError, children, read_once, resolved};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "hwmon",
    on: true,
    make: |host, options| {
        let Options { chip_include, chip_exclude, sensor_include, sensor_exclude } = &options.hwmon;
        Ok(Box::new(Hwmon {
            chips: Choice::new("hwmon.chip", chip_include, chip_exclude)?,
            sensors: Choice::new("hwmon.sensor", sensor_include, sensor_exclude)?,
            board: Board::new(host.sysfs.join("class/hwmon"), Unreadable::IsAbsent).told_by(&host.arrivals),
        }))
    },
};

/// Which chips and sensors are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of chips that alone are shown, as a regular expression; all if empty.
    pub chip_include: String,
    /// Names of chips that are left out, as a regular expression; none if empty.
    pub chip_exclude: String,
    /// `CHIP;SENSOR` of those that alone are shown, as a regular expression; all if empty.
    pub sensor_include: String,
    /// `CHIP;SENSOR` of those that are left out, as a regular expression; none if empty.
    pub sensor_exclude: String,
}

const CHIP: Desc<'static> = Desc::gauge(
    "node_hwmon_chip_names",
    "Annotation metric for human-readable chip names",
    &["chip", "chip_name"],
);
const LABEL: Desc<'static> =
    Desc::gauge("node_hwmon_sensor_label", "Label for given chip and sensor", &["chip", "label", "sensor"]);

struct Hwmon {
    chips: Choice,
    sensors: Choice,
    board: Board,
}

impl Collector for Hwmon {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { chips, sensors, board } = self;
        let there = board.look(|directory, names, found| {
            for chip in unique(names.iter().filter_map(|name| Chip::new(&directory.join(name))).collect()) {
                if chips.shows(&chip.name) {
                    chip.find(sensors, found)?;
                }
            }
            Ok::<_, HostError>(())
        })?;
        if !there {
            return Err(CollectError::Absent("class/hwmon".into()));
        }
        self.board.read()?;
        self.board.write(out);
        Ok(())
    }
}

struct Chip {
    directory: PathBuf,
    name: String,
    /// What the driver calls it.
    given: Option<String>,
}

/// The files of one sensor by their properties.
#[derive(Default)]
struct Sensor {
    kind: String,
    files: BTreeMap<String, PathBuf>,
}

impl Chip {
    /// The number in `hwmonN` depends on the order in which drivers were loaded, so the name is that of the device; if
    /// there is none, what the driver calls it.
    fn new(directory: &Path) -> Option<Self> {
        if !is_dir(directory) {
            return None;
        }
        let given = read_once(&directory.join("name")).ok().flatten();
        let device = resolved(&directory.join("device")).and_then(|path| device_name(&path));
        let named = || given.as_deref().map(clean).filter(|name| !name.is_empty());
        let name = device.or_else(named).or_else(|| last_name(&resolved(directory)?))?;
        Some(Self { directory: directory.to_owned(), name, given })
    }

    fn find(&self, choice: &Choice, found: &mut Found) -> Result<(), HostError> {
        if let Some(name) = self.given.as_deref().map(clean).filter(|name| !name.is_empty()) {
            found.constant(&CHIP, &[&self.name, &name], Value::U64(1));
        }
        let mut sensors: BTreeMap<String, Sensor> = BTreeMap::new();
        for directory in [self.directory.clone(), self.directory.join("device")] {
            for name in children(&directory)?.unwrap_or_default() {
                let Some(file) = sensor_file(&name) else { continue };
                let sensor = sensors.entry(format!("{}{}", file.kind, file.number)).or_default();
                file.kind.clone_into(&mut sensor.kind);
                sensor.files.insert(file.property.to_owned(), directory.join(&name));
            }
        }
        for (name, sensor) in &sensors {
            if choice.shows(&format!("{};{name}", self.name)) {
                sensor.find(&self.name, name, found);
            }
        }
        Ok(())
    }
}

impl Sensor {
    fn find(&self, chip: &str, name: &str, found: &mut Found) {
        let label = self.files.get("label").and_then(|path| read_once(path).ok().flatten());
        let label = label.as_deref().map(|text| text.trim_matches('\n'));
        if let Some(label) = label {
            found.constant(&LABEL, &[chip, label, name], Value::U64(1));
        }
        let plain = self.files.contains_key("");
        for (property, path) in self.files.iter().filter(|(property, _)| *property != "label") {
            let Some((named, parse)) = family::of(&self.kind, property, plain) else { continue };
            // Which of a graphics card's clocks it is, only its label tells.
            let clock = (self.kind == "freq" && property == "input").then(|| label.map(clean));
            let sensor = match &clock {
                Some(None) => continue,
                Some(Some(clock)) => clock,
                None => name,
            };
            let cell = found.file(path.clone(), parse, 1);
            found.series(named, &[chip, sensor], cell);
        }
    }
}

/// `platform_coretemp_0` for `/sys/devices/platform/coretemp.0`.
fn device_name(path: &Path) -> Option<String> {
    let name = last_name(path)?;
    let bus = path.parent().and_then(last_name);
    Some(bus.map_or_else(|| name.clone(), |bus| format!("{bus}_{name}")))
}

/// The last part of a path, cleaned.
fn last_name(path: &Path) -> Option<String> {
    Some(clean(path.file_name()?.to_str()?)).filter(|name| !name.is_empty())
}

/// Chips of one device share its name: then the driver's name tells them apart, or the number after all.
fn unique(mut chips: Vec<Chip>) -> Vec<Chip> {
    let given = |chip: &Chip| chip.given.as_deref().unwrap_or_default().trim().to_owned();
    let names: Vec<(String, String)> = chips.iter().map(|chip| (chip.name.clone(), given(chip))).collect();
    for (chip, own) in chips.iter_mut().zip(&names) {
        if names.iter().filter(|(name, _)| *name == own.0).count() < 2 {
            continue;
        }
        let alone = names.iter().filter(|other| *other == own).count() < 2;
        let suffix = Some(clean(&own.1)).filter(|suffix| alone && !suffix.is_empty());
        let suffix = suffix.or_else(|| last_name(&chip.directory)).unwrap_or_default();
        chip.name = format!("{}_{suffix}", own.0);
    }
    chips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_its_bus_and_its_name() {
        assert_eq!(
            device_name(Path::new("/devices/platform/coretemp.0")).as_deref(),
            Some("platform_coretemp_0")
        );
        assert_eq!(device_name(Path::new("/a")).as_deref(), Some("a"));
        assert_eq!(device_name(Path::new("/")), None);
    }

    #[test]
    fn chips_of_one_device_are_told_apart() {
        let chip = |number: u32, name: &str, given: &str| Chip {
            directory: format!("/sys/class/hwmon/hwmon{number}").into(),
            name: name.into(),
            given: Some(given.into()),
        };
        let names = |chips| unique(chips).into_iter().map(|chip| chip.name).collect::<Vec<_>>();
        assert_eq!(
            names(vec![
                chip(0, "a", "x\n"),
                chip(1, "b", "y"),
                chip(2, "b", "z"),
                chip(3, "c", "s"),
                chip(4, "c", "s")
            ]),
            ["a", "b_y", "b_z", "c_hwmon3", "c_hwmon4"]
        );
    }
}
