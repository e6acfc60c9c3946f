//! PCI devices: where they are plugged in (/sys/bus/pci/devices), and what their numbers mean (pci.ids).
//!
//! Sources: `Documentation/PCI/sysfs-pci.rst`, <https://pci-ids.ucw.cz>.

use super::{HostError, ParseError};
use std::path::Path;

/// Where a device is plugged in: segment, bus, device and function, as the kernel writes them.
pub type Location = [String; 4];

/// The numbers of a device: class, vendor, device, and the vendor and the device of its subsystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ids {
    /// Base class, subclass and programming interface, a byte each.
    pub class: u32,
    /// The vendor of the chip.
    pub vendor: u32,
    /// The vendor's number for the chip.
    pub device: u32,
    /// The vendor of the card.
    pub subsystem_vendor: u32,
    /// The vendor's number for the card.
    pub subsystem_device: u32,
}

/// What the numbers of a device mean; where pci.ids does not say it, the number itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of the class.
    pub class: String,
    /// Of the vendor.
    pub vendor: String,
    /// Of the device.
    pub device: String,
    /// Of the vendor of the card.
    pub subsystem_vendor: String,
    /// Of the card.
    pub subsystem_device: String,
}

/// `0000:01:00.0` taken apart.
pub fn location(text: &str) -> Option<Location> {
    let mut parts = text.splitn(3, ':');
    let (segment, bus, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (device, function) = rest.split_once('.')?;
    let hexadecimal = |part: &str| u32::from_str_radix(part, 16).is_ok();
    let parts = [segment, bus, device, function];
    parts.into_iter().all(hexadecimal).then(|| parts.map(String::from))
}

/// Where the device behind the link at `path` is plugged in, and the bridge above it if there is one.
pub fn places(path: &Path) -> Result<Option<(Location, Option<Location>)>, HostError> {
    let target = match super::counted::read_link(path) {
        Ok(target) => target,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HostError::read(path, e)),
    };
    let last = |path: &Path| path.file_name().and_then(|name| location(&name.to_string_lossy()));
    let own = last(&target).ok_or_else(|| {
        HostError::parse(path, ParseError::new(1, "a link to a device such as 0000:01:00.0"))
    })?;
    Ok(Some((own, target.parent().and_then(last))))
}

/// A number such as `0x010802`.
pub fn hexadecimal(text: &str) -> Result<u32, ParseError> {
    let digits = text.trim().strip_prefix("0x");
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| ParseError::new(1, "a hexadecimal number"))
}

/// Giga-transfers per second in `8.0 GT/s PCIe`; `None` where the kernel does not know.
pub fn link_speed(text: &str) -> Result<Option<f64>, ParseError> {
    let text = text.trim();
    if text.is_empty() || text.starts_with("Unknown") {
        return Ok(None);
    }
    let speed = text.strip_suffix(" GT/s PCIe").and_then(|speed| speed.trim().parse::<f64>().ok());
    match speed {
        Some(speed) if speed.is_finite() => Ok(Some(speed)),
        _ => Err(ParseError::new(1, "a number and `GT/s PCIe`")),
    }
}

/// What pci.ids says about one device.
pub fn names(text: &str, ids: &Ids) -> Names {
    let hex = |number: u32| format!("{number:04x}");
    let (vendor, device) = (hex(ids.vendor), hex(ids.device));
    let (subvendor, subdevice) = (hex(ids.subsystem_vendor), hex(ids.subsystem_device));
    let class = format!("{:06x}", ids.class);
    let mut out = Names {
        class: format!("Unknown class ({class})"),
        vendor: vendor.clone(),
        device: device.clone(),
        subsystem_vendor: subvendor.clone(),
        subsystem_device: subdevice.clone(),
    };
    let subsystem = format!("{subvendor} {subdevice}");
    // The numbers of the lines above the present one, by depth.
    let mut above = [""; 2];
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let depth = line.bytes().take_while(|byte| *byte == b'\t').count();
        let Some((number, name)) = line.trim_start_matches('\t').split_once("  ") else { continue };
        let name = name.trim();
        if let Some(slot) = above.get_mut(depth) {
            *slot = number;
        }
        let [top, middle] = above;
        let (top_class, in_class) = top.strip_prefix("C ").map_or(("", false), |class| (class, true));
        let path = match depth {
            0 => top_class.to_owned(),
            1 => format!("{top_class}{middle}"),
            _ => format!("{top_class}{middle}{number}"),
        };
        match depth {
            // Lines of deeper classes come later and say more.
            _ if in_class && class.starts_with(&path) => name.clone_into(&mut out.class),
            _ if in_class => {}
            0 => {
                if number == vendor {
                    name.clone_into(&mut out.vendor);
                }
                if number == subvendor {
                    name.clone_into(&mut out.subsystem_vendor);
                }
            }
            1 if top == vendor && number == device => name.clone_into(&mut out.device),
            2 if top == vendor && middle == device && number == subsystem => {
                name.clone_into(&mut out.subsystem_device);
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_four_parts() {
        assert_eq!(location("0000:01:00.0"), Some(["0000", "01", "00", "0"].map(String::from)));
        for text in ["pci0000:00", "0000:01:00", "0000:0x:00.0", ""] {
            assert_eq!(location(text), None, "{text}");
        }
    }

    #[test]
    fn speeds_and_numbers_have_their_forms() {
        assert_eq!(link_speed("16.0 GT/s PCIe\n"), Ok(Some(16.0)));
        assert_eq!(link_speed("Unknown\n"), Ok(None));
        assert!(link_speed("16.0 GB/s\n").is_err() && link_speed("inf GT/s PCIe").is_err());
        assert_eq!(hexadecimal("0x010802\n"), Ok(0x01_0802));
        assert!(hexadecimal("010802\n").is_err());
    }

    #[test]
    fn numbers_have_names_where_the_list_knows_them() {
        let text = "# list\n1af4  Red Hat\n\t1000  Virtio network\n\t\t1af4 0001  Card\n8086  Intel\n\
                    C 02  Network controller\n\t00  Ethernet controller\n\t80  Other\n\t\t01  Special\n";
        let ids = Ids {
            class: 0x02_0000,
            vendor: 0x1af4,
            device: 0x1000,
            subsystem_vendor: 0x1af4,
            subsystem_device: 1,
        };
        let found = names(text, &ids);
        assert_eq!((found.vendor.as_str(), found.device.as_str()), ("Red Hat", "Virtio network"));
        assert_eq!((found.subsystem_vendor.as_str(), found.subsystem_device.as_str()), ("Red Hat", "Card"));
        assert_eq!(found.class, "Ethernet controller");
        assert_eq!(names(text, &Ids { class: 0x02_8001, ..ids }).class, "Special");
        let unknown = names(text, &Ids { class: 0x03_0000, vendor: 0xdead, ..ids });
        assert_eq!((unknown.vendor.as_str(), unknown.device.as_str()), ("dead", "1000"));
        assert_eq!(unknown.class, "Unknown class (030000)");
    }
}
