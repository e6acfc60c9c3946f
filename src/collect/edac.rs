//! The collector of memory errors: by controller, by row and by channel (`node_edac_*`).

use super::board::{Board, Found, Unreadable, whole};
use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, children, read_once};
use crate::metric::{Desc, Sink};
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "edac",
    on: true,
    make: |host, _| {
        Ok(Box::new(Edac(
            Board::new(host.sysfs.join("devices/system/edac/mc"), Unreadable::Fails).told_by(&host.arrivals),
        )))
    },
};

const CONTROLLER: [Desc<'static>; 2] = [
    Desc::counter("node_edac_correctable_errors_total", "Total correctable memory errors.", &["controller"]),
    Desc::counter(
        "node_edac_uncorrectable_errors_total",
        "Total uncorrectable memory errors.",
        &["controller"],
    ),
];
const ROW: [Desc<'static>; 2] = [
    Desc::counter(
        "node_edac_csrow_correctable_errors_total",
        "Total correctable memory errors for this csrow.",
        &["controller", "csrow"],
    ),
    Desc::counter(
        "node_edac_csrow_uncorrectable_errors_total",
        "Total uncorrectable memory errors for this csrow.",
        &["controller", "csrow"],
    ),
];
const CHANNEL: [Desc<'static>; 2] = [
    Desc::counter(
        "node_edac_channel_correctable_errors_total",
        "Total correctable memory errors for this channel.",
        &["channel", "controller", "csrow", "dimm_label"],
    ),
    Desc::counter(
        "node_edac_channel_uncorrectable_errors_total",
        "Total uncorrectable memory errors for this channel.",
        &["channel", "controller", "csrow", "dimm_label"],
    ),
];

struct Edac(Board);

impl Collector for Edac {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        // A machine whose memory reports no errors has no controllers: that is no failure.
        if self.0.look(find)? {
            self.0.read()?;
            self.0.write(out);
        }
        Ok(())
    }
}

fn find(directory: &Path, names: &[String], found: &mut Found) -> Result<(), HostError> {
    for name in names {
        let Some(controller) = numbered(name, "mc") else { continue };
        let directory = directory.join(name);
        for (desc, file) in CONTROLLER.iter().zip(["ce_count", "ue_count"]) {
            found.one(desc, &[controller], directory.join(file), whole);
        }
        // Errors that the controller could not place.
        for (desc, file) in ROW.iter().zip(["ce_noinfo_count", "ue_noinfo_count"]) {
            found.one(desc, &[controller, "unknown"], directory.join(file), whole);
        }
        for row in children(&directory)?.unwrap_or_default() {
            if let Some(number) = numbered(&row, "csrow") {
                find_row(&directory.join(&row), [controller, number], found)?;
            }
        }
    }
    Ok(())
}

fn find_row(directory: &Path, [controller, row]: [&str; 2], found: &mut Found) -> Result<(), HostError> {
    for (desc, file) in ROW.iter().zip(["ce_count", "ue_count"]) {
        found.one(desc, &[controller, row], directory.join(file), whole);
    }
    for name in children(directory)?.unwrap_or_default() {
        let channel = name.strip_suffix("_ce_count").and_then(|name| numbered(name, "ch"));
        let Some(channel) = channel else { continue };
        let label = read_once(&directory.join(format!("ch{channel}_dimm_label")))?;
        let label = label.map_or_else(|| "unknown".to_owned(), |text| dimm_label(&text));
        for (desc, file) in CHANNEL.iter().zip(["ce", "ue"]) {
            let path = directory.join(format!("ch{channel}_{file}_count"));
            found.one(desc, &[channel, controller, row, &label], path, whole);
        }
    }
    Ok(())
}

/// The number behind the prefix of a name.
fn numbered<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix).filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// node_exporter's form of a module's label: `mc#0csrow#1channel#0` becomes `mc0_csrow1_channel0`.
fn dimm_label(text: &str) -> String {
    text.trim().replace('#', "").replace("csrow", "_csrow").replace("channel", "_channel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(numbered("mc12", "mc"), Some("12"));
        assert_eq!(
            (numbered("mc", "mc"), numbered("mc0x", "mc"), numbered("power", "mc")),
            (None, None, None)
        );
        assert_eq!(dimm_label("mc#0csrow#1channel#0\n"), "mc0_csrow1_channel0");
        assert_eq!(dimm_label("DIMM_A1"), "DIMM_A1");
    }
}
