//! systemd's units as its manager tells them by D-Bus.
//!
//! Source: org.freedesktop.systemd1(5).

use super::dbus::{Answer, Dbus, Method, Reader, Variant};
use std::io;

const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name (`ssh.service`).
    pub name: String,
    /// Whether its file was read (`loaded`).
    pub load_state: String,
    /// Whether it runs (`active`).
    pub active_state: String,
    /// The object that knows more.
    pub path: String,
}

/// systemd's manager.
#[derive(Debug)]
pub struct Systemd(pub Dbus);

impl Systemd {
    /// All units that systemd has in memory.
    pub fn units(&mut self) -> io::Result<Vec<Unit>> {
        let answer = self.manager("ListUnits", &[])?;
        answer.structures(unit).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A unit by its name; one that systemd does not have in memory is read from its file, if there is any.
    pub fn load_unit(&mut self, name: &str) -> io::Result<Unit> {
        let path = self.manager("LoadUnit", &[name])?.text().ok_or(io::ErrorKind::InvalidData)?;
        let mut unit =
            Unit { name: name.to_owned(), load_state: String::new(), active_state: String::new(), path };
        for (state, property) in [(true, "LoadState"), (false, "ActiveState")] {
            if let Some(Variant::Text(text)) = self.of_unit(&unit, "Unit", property)? {
                *(if state { &mut unit.load_state } else { &mut unit.active_state }) = text;
            }
        }
        Ok(unit)
    }

    /// Has a unit stopped, if it runs, and started. That it is asked for is all that the answer says.
    pub fn restart(&mut self, name: &str) -> io::Result<()> {
        self.manager("RestartUnit", &[name, "replace"]).map(|_| ())
    }

    fn manager(&mut self, member: &str, arguments: &[&str]) -> io::Result<Answer> {
        let (destination, path, interface) = (MANAGER, MANAGER_PATH, MANAGER_INTERFACE);
        self.0.call(&Method { destination, path, interface, member }, arguments)
    }

    /// A property of the manager; `None` if this version has no such.
    pub fn of_manager(&mut self, property: &str) -> io::Result<Option<Variant>> {
        self.property(MANAGER_PATH, MANAGER_INTERFACE, property)
    }

    /// A property of a unit, of the part `kind` (`Service`); `None` if this version has no such, or the unit has gone.
    pub fn of_unit(&mut self, unit: &Unit, kind: &str, property: &str) -> io::Result<Option<Variant>> {
        self.property(&unit.path, &format!("{MANAGER}.{kind}"), property)
    }

    fn property(&mut self, path: &str, interface: &str, property: &str) -> io::Result<Option<Variant>> {
        let method = Method {
            destination: MANAGER,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        match self.0.call(&method, &[interface, property]) {
            Ok(answer) => Ok(answer.variant()),
            // Its own errors come as such; those of the connection have another kind.
            Err(e) if e.kind() == io::ErrorKind::Other => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Name, description, load state, active state, sub state, followed unit, path, job's number, type and path.
pub(crate) fn unit(reader: &mut Reader<'_>) -> Option<Unit> {
    let (name, _description) = (reader.text()?, reader.text()?);
    let (load_state, active_state) = (reader.text()?, reader.text()?);
    let (_sub_state, _following, path) = (reader.text()?, reader.text()?, reader.text()?);
    let (_job, _type, _job_path) = (reader.u32()?, reader.text()?, reader.text()?);
    Some(Unit { name, load_state, active_state, path })
}
