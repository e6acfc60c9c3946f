//! A compressed block device in memory, from its making to its end.
//!
//! Source: `Documentation/admin-guide/blockdev/zram.rst`.

use super::Make;
use super::signature::{Uuid, first_page, ours};
use crate::host::free::Free;
use crate::host::hand::Hand;
use crate::host::{Host, children, head, read_once};
use crate::optimize::action::ActError;
use bytesize::ByteSize;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a device may be busy after its swap has ended: udev looks at it.
const BUSY: Duration = Duration::from_secs(3);
/// How long it may take to read everything back, before the run goes on without it.
const SWAP_OFF: Duration = Duration::from_secs(8);

/// The control file of this name.
pub(super) fn control(host: &Host, name: &str) -> PathBuf {
    host.sysfs.join("class/zram-control").join(name)
}

/// Whether anything is swapped on, as /proc/swaps has it; with its name, only whether that is.
pub(super) fn swaps_on(host: &Host, name: Option<&str>) -> bool {
    let text = read_once(&host.procfs.join("swaps")).ok().flatten().unwrap_or_default();
    let mut devices = text.lines().skip(1).filter_map(|l| l.split_ascii_whitespace().next());
    devices.any(|d| name.is_none_or(|n| d.rsplit('/').next() == Some(n)))
}

/// One device.
struct Device {
    number: String,
    name: String,
}

impl Device {
    fn new(number: &str) -> Self {
        Self { number: number.to_owned(), name: format!("zram{number}") }
    }

    fn file(&self, host: &Host, name: &str) -> PathBuf {
        host.sysfs.join("block").join(&self.name).join(name)
    }

    fn node(&self, host: &Host) -> PathBuf {
        host.root_path("dev").join(&self.name)
    }

    /// Its end; nothing may be swapped on it any more.
    fn remove(&self, hand: &mut Hand) -> Result<(), ActError> {
        let begun = Instant::now();
        let (reset, remove) = (self.file(hand.host(), "reset"), control(hand.host(), "hot_remove"));
        loop {
            let done = hand.write(&reset, "1").and_then(|()| hand.write(&remove, &self.number));
            match done {
                Ok(()) => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && begun.elapsed() < BUSY => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => return Err(failed(&self.name, "cannot be removed", &e)),
            }
        }
    }
}

fn failed(name: &str, what: &str, e: &io::Error) -> ActError {
    ActError::Failed(format!("{name} {what}: {e}"))
}

/// Makes a device and swaps on it; its name. Whatever fails, nothing is left.
pub(super) fn make(hand: &mut Hand, make: &Make) -> Result<String, ActError> {
    let number =
        hand.take(&control(hand.host(), "hot_add")).map_err(|e| failed("zram", "cannot be added", &e))?;
    let device = Device::new(number.trim());
    let outcome = set_up(hand, &device, make).and_then(|()| {
        let left = Free::read(hand.host())?.available_bytes;
        if left >= make.available_bytes_min {
            return Ok(());
        }
        let left = ByteSize::b(left).display().iec();
        Err(ActError::Failed(format!("with {} the machine has only {left} available", device.name)))
    });
    match outcome {
        Ok(()) => Ok(device.name),
        Err(e) => {
            if swaps_on(hand.host(), Some(&device.name)) {
                swap_off(hand, &device)?;
            }
            device.remove(hand)?;
            Err(e)
        }
    }
}

fn set_up(hand: &mut Hand, device: &Device, make: &Make) -> Result<(), ActError> {
    let name = &device.name;
    let page = first_page(rustix::param::page_size(), make.size_bytes, &make.uuid)
        .ok_or_else(|| ActError::Failed(format!("no swap has {} bytes", make.size_bytes)))?;
    let (node, size) = (device.node(hand.host()), make.size_bytes.to_string());
    if let Some(algorithm) = &make.algorithm {
        hand.write(&device.file(hand.host(), "comp_algorithm"), algorithm)
            .map_err(|e| failed(name, &format!("does not take the algorithm {algorithm:?}"), &e))?;
    }
    hand.write(&device.file(hand.host(), "disksize"), &size)
        .map_err(|e| failed(name, "does not take its size", &e))?;
    hand.write_device(&node, &page).map_err(|e| failed(name, "does not take a swap's signature", &e))?;
    hand.swap_on(&node, make.priority).map_err(|e| failed(name, "cannot be swapped on", &e))
}

/// Takes away the devices that this program has made: all of them, or the one with this UUID. Their names.
pub(super) fn take_away(
    hand: &mut Hand,
    which: Option<&Uuid>,
    available_bytes_min: u64,
) -> Result<Vec<String>, ActError> {
    let page = rustix::param::page_size() as u64;
    let mut gone = Vec::new();
    for name in children(&hand.host().sysfs.join("block"))?.unwrap_or_default() {
        let Some(number) = name.strip_prefix("zram") else { continue };
        let device = Device::new(number);
        let first = head(&device.node(hand.host()), page).unwrap_or_default();
        if ours(&first).is_none_or(|uuid| which.is_some_and(|w| *w != uuid)) {
            continue;
        }
        if swaps_on(hand.host(), Some(&name)) {
            has_room(hand.host(), &device, available_bytes_min)?;
            swap_off(hand, &device)?;
        }
        device.remove(hand)?;
        gone.push(name);
    }
    Ok(gone)
}

/// What is in the swap must have room in memory; what the device occupies comes free.
fn has_room(host: &Host, device: &Device, available_bytes_min: u64) -> Result<(), ActError> {
    let text = read_once(&device.file(host, "mm_stat"))?.unwrap_or_default();
    let number =
        |n: usize| text.split_ascii_whitespace().nth(n).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
    let (holds, occupies) = (number(0), number(2));
    let left = Free::read(host)?.available_bytes.saturating_add(occupies).saturating_sub(holds);
    if left >= available_bytes_min {
        return Ok(());
    }
    let [holds, left] = [holds, left].map(|b| ByteSize::b(b).display().iec());
    Err(ActError::Failed(format!(
        "{} holds {holds}; the machine would have only {left} available",
        device.name
    )))
}

fn swap_off(hand: &mut Hand, device: &Device) -> Result<(), ActError> {
    let node = device.node(hand.host());
    let pending = || ActError::Failed(format!("{} is still being read back", device.name));
    let mut apart = hand
        .apart(&node)
        .map_err(|e| failed(&device.name, "cannot be swapped off", &e))?
        .ok_or_else(pending)?;
    match apart.run(SWAP_OFF, move |hand| hand.swap_off(&node)) {
        Some(answer) => answer.map_err(|e| failed(&device.name, "cannot be swapped off", &e)),
        None => Err(pending()),
    }
}
