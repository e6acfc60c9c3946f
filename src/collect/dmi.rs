//! The collector of what the firmware says about the machine: maker, model, serial numbers (`node_dmi_info`).

use super::{CollectError, Collector, Entry};
use crate::host::attribute::{Attribute, Reader, Reading};
use crate::host::{Host, HostError, children};
use crate::metric::{Desc, Sink, Value};
use std::io::ErrorKind;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "dmi", on: true, make: |_, _| Ok(Box::new(Dmi { facts: None })) };

const HELP: &str = "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, \
    bios_version, board_asset_tag, board_name, board_serial, board_vendor, board_version, chassis_asset_tag, \
    chassis_serial, chassis_vendor, chassis_version, product_family, product_name, product_serial, product_sku, \
    product_uuid, product_version, system_vendor if provided by DMI.";
/// The labels; the files have the same names but for the last.
const LABELS: [&str; 20] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    "system_vendor",
];

struct Dmi {
    /// The labels that the firmware gave, and their values; nothing changes them before the next boot.
    facts: Option<(Vec<&'static str>, Vec<String>)>,
}

impl Collector for Dmi {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let (labels, values) = match &mut self.facts {
            Some(facts) => facts,
            None => self.facts.insert(read(host)?),
        };
        if labels.is_empty() {
            return Err(CollectError::Absent("class/dmi/id".into()));
        }
        out.family(&Desc::gauge("node_dmi_info", HELP, labels));
        let mut texts = [""; LABELS.len()];
        for (text, value) in texts.iter_mut().zip(values.iter()) {
            *text = value;
        }
        out.sample(texts.get(..values.len()).unwrap_or_default(), Value::U64(1));
        Ok(())
    }
}

fn read(host: &Host) -> Result<(Vec<&'static str>, Vec<String>), HostError> {
    let directory = host.sysfs.join("class/dmi/id");
    let (mut labels, mut values) = (Vec::new(), Vec::new());
    if children(&directory)?.is_none() {
        return Ok((labels, values));
    }
    let mut reader = Reader::default();
    for label in LABELS {
        let file = if label == "system_vendor" { "sys_vendor" } else { label };
        match reader.read(&mut Attribute::new(directory.join(file))) {
            Ok(Reading::Text(text)) => {
                labels.push(label);
                values.push(text.trim().to_owned());
            }
            Ok(Reading::Absent | Reading::Gone) => {}
            // Serial numbers are for root alone.
            Err(HostError::Read { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
            Err(e) => return Err(e),
        }
    }
    Ok((labels, values))
}
