//! The collector of the energy that processors used: /sys/class/powercap (`node_rapl_*`).

use super::family::{Named, Opening};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::Reader;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Kind, Sink, Value};
use serde::Deserialize;
use std::collections::BTreeMap;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "rapl",
    on: true,
    make: |host, options| {
        Ok(Box::new(Rapl {
            zone_label: options.rapl.enable_zone_label,
            zones: Listing::new(host.sysfs.join("class/powercap")).told_by(&host.arrivals),
            families: BTreeMap::new(),
        }))
    },
};

/// How zones are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether all zones are one family, told apart by the label `rapl_zone`.
    pub enable_zone_label: bool,
}

const JOULES: Desc<'static> =
    Desc::counter("node_rapl_joules_total", "Current RAPL value in joules", &["index", "path", "rapl_zone"]);

struct Rapl {
    zone_label: bool,
    zones: Listing<Zone>,
    /// The family of each name of a zone, made once.
    families: BTreeMap<String, Named>,
}

struct Zone {
    attributes: Attributes,
    path: String,
    /// The name without its number (`package` of `package-0`); none for what is no zone.
    name: Option<String>,
    /// The number.
    index: String,
}

impl Collector for Rapl {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { zone_label, zones, families } = self;
        let changed = zones
            .refresh(|path, _, _| {
                let attributes = Attributes::new(path, &["name"], &["energy_uj"]);
                let path = attributes.directory().to_string_lossy().into_owned();
                Some(Zone { attributes, path, name: None, index: String::new() })
            })?
            .ok_or_else(|| CollectError::Absent("class/powercap".into()))?;
        let mut reader = Reader::default();
        for (_, zone) in zones.items_mut() {
            zone.attributes.read(&mut reader)?;
        }
        let known = |zone: &Zone| zone.name.is_some() == zone.attributes.text(0).is_some();
        if changed || !zones.items().all(|(_, zone)| known(zone)) {
            number(zones);
        }
        let named = || zones.items().filter_map(|(_, zone)| Some((zone.name.as_deref()?, zone)));
        if named().next().is_some() && named().all(|(_, zone)| zone.attributes.number(0).is_none()) {
            return Err(CollectError::Absent("class/powercap/*/energy_uj, or the right to read it".into()));
        }
        if *zone_label {
            let mut family = Opening::new(&JOULES);
            for (name, zone) in named() {
                if let Some(joules) = zone.joules() {
                    family.sample(out, &[&zone.index, &zone.path, name], joules);
                }
            }
            return Ok(());
        }
        if named().any(|(name, _)| !families.contains_key(name)) {
            *families = named().map(|(name, _)| (name.to_owned(), family(name))).collect();
        }
        for (name, kept) in families.iter() {
            let desc = kept.desc();
            let mut family = Opening::new(&desc);
            for (_, zone) in named().filter(|(zone, _)| zone == name) {
                if let Some(joules) = zone.joules() {
                    family.sample(out, &[&zone.index, &zone.path], joules);
                }
            }
        }
        Ok(())
    }
}

impl Zone {
    fn joules(&self) -> Option<Value<'static>> {
        Some(Value::F64(self.attributes.number(0)? as f64 / 1e6))
    }
}

/// Gives each zone its name and number: the one behind the name (`package-0`), or else one more than that of the zone
/// of the same name before it. Zones without a name are the drivers'.
fn number(zones: &mut Listing<Zone>) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for (_, zone) in zones.items_mut() {
        let (name, index) = match zone.attributes.text(0) {
            None => {
                zone.name = None;
                continue;
            }
            Some(text) => match text.split_once('-').map(|(name, number)| (name, number.parse::<u64>())) {
                Some((name, Ok(index))) => (name.to_owned(), index),
                _ => (text.to_owned(), next.get(text).copied().unwrap_or_default()),
            },
        };
        next.insert(name.clone(), index.saturating_add(1));
        zone.index = index.to_string();
        zone.name = Some(name);
    }
}

fn family(name: &str) -> Named {
    // Underscores stand for whatever may not be in a metric's name.
    let mut word = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
        } else if !word.ends_with('_') {
            word.push('_');
        }
    }
    let help = format!("Current RAPL {name} value in joules");
    Named::new(format!("node_rapl_{word}_joules_total"), help, Kind::Counter, &["index", "path"])
}
