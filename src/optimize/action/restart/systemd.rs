//! A unit of systemd: the job is given, and its end waited for.
//!
//! Source: org.freedesktop.systemd1(5).

use super::{Waiting, until};
use crate::host::Host;
use crate::host::dbus::{Dbus, Variant};
use crate::host::systemd::{Systemd, Unit};
use std::path::{Path, PathBuf};

/// Restarts it, and says how it went.
pub(super) fn restart(
    unit: &str,
    socket: Option<&Path>,
    host: &Host,
    waiting: &Waiting<'_>,
) -> Result<String, String> {
    let failed = |what: &str, e: std::io::Error| format!("systemd: {what} {unit}: {e}");
    let mut manager = connect(socket, host)?;
    let known = manager.load_unit(unit).map_err(|e| failed("cannot find", e))?;
    if known.load_state != "loaded" {
        return Err(format!("systemd has no unit {unit}: it is {}", known.load_state));
    }
    let before = entered(&mut manager, &known)?;
    manager.restart(unit).map_err(|e| failed("cannot restart", e))?;
    until(waiting, &format!("the unit {unit} is active again"), || {
        let state = text(&mut manager, &known, "Unit", "ActiveState")?;
        if state == "failed" {
            // `start-limit-hit`, where it was restarted too often by systemd's own count.
            let result = text(&mut manager, &known, "Service", "Result")?;
            return Err(format!("the unit {unit} failed: {result}"));
        }
        let again = entered(&mut manager, &known)? != before;
        Ok((state == "active" && again).then(|| format!("systemd has restarted {unit}")))
    })
}

/// When it last became active, which tells the new start from the old one.
fn entered(manager: &mut Systemd, unit: &Unit) -> Result<u64, String> {
    match manager.of_unit(unit, "Unit", "ActiveEnterTimestampMonotonic") {
        Ok(Some(Variant::Number(at))) => Ok(at),
        Ok(_) => Err(format!("systemd does not say since when {} is active", unit.name)),
        Err(e) => Err(format!("systemd: {e}")),
    }
}

fn text(manager: &mut Systemd, unit: &Unit, kind: &str, property: &str) -> Result<String, String> {
    match manager.of_unit(unit, kind, property) {
        Ok(Some(Variant::Text(text))) => Ok(text),
        Ok(_) => Ok("unknown".to_owned()),
        Err(e) => Err(format!("systemd: {e}")),
    }
}

/// The first that answers: the given one, else the bus or the manager's own, through the host's root first.
fn connect(socket: Option<&Path>, host: &Host) -> Result<Systemd, String> {
    let bus = "/run/dbus/system_bus_socket";
    let own = "/run/systemd/private";
    let usual = || vec![host.root_path(bus), bus.into(), host.root_path(own), own.into()];
    let places: Vec<PathBuf> = socket.map_or_else(usual, |s| vec![s.to_owned()]);
    let mut why = String::new();
    for place in &places {
        // A manager's own socket, of the system or of a user, has this name, and no bus between.
        match Dbus::connect(place, !place.ends_with("private")) {
            Ok(dbus) => return Ok(Systemd(dbus)),
            Err(e) => why = format!("cannot reach systemd at {}: {e}", place.display()),
        }
    }
    Err(why)
}
