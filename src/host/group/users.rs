//! The names of users, as the host's /etc/passwd has them.

use crate::host::{Host, HostError, read_once};
use std::borrow::Cow;
use std::collections::HashMap;

/// User names by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(HashMap<u32, String>);

impl Users {
    /// Reads the host's /etc/passwd; a host without one has users without names.
    pub fn load(host: &Host) -> Result<Self, HostError> {
        let text = read_once(&host.root_path("/etc/passwd"))?;
        Ok(text.map(|text| Self::from_passwd(&text)).unwrap_or_default())
    }

    /// Takes what can be understood of the text of a passwd file; the first entry of a number counts.
    pub fn from_passwd(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else { continue };
            if let Ok(uid) = uid.parse() {
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Self(names)
    }

    /// The name of a user, or the number where there is no name; `None` if the user is unknown.
    pub fn name(&self, uid: Option<u32>) -> Option<Cow<'_, str>> {
        let uid = uid?;
        Some(self.0.get(&uid).map_or_else(|| uid.to_string().into(), |name| name.as_str().into()))
    }

    /// Whether the user has a name.
    pub fn knows(&self, uid: u32) -> bool {
        self.0.contains_key(&uid)
    }
}

/// The number of a user (`/etc/passwd`) or a group (`/etc/group`), which may be given in place of its name; `None` if there
/// is no such name on the host.
pub fn number_of(host: &Host, file: &str, name: &str) -> Result<Option<u32>, HostError> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let text = read_once(&host.root_path(file))?;
    Ok(text.and_then(|text| number_in(&text, name)))
}

/// The numbers of a user, by name or number, and of the user's first group; `None` if there is no such name on the host. A
/// number without a name is its own group.
pub fn login_of(host: &Host, user: &str) -> Result<Option<(u32, u32)>, HostError> {
    let text = read_once(&host.root_path("/etc/passwd"))?.unwrap_or_default();
    Ok(login_in(&text, user))
}

fn login_in(text: &str, user: &str) -> Option<(u32, u32)> {
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*name == user || *uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?))).flatten()
    });
    found.or_else(|| user.parse().ok().map(|number| (number, number)))
}

fn number_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_the_group_of_its_line() {
        let text = "root:x:0:0::/:/bin/sh\nwww:x:33:34::/:\nbad:x:1\n";
        let login = |user| login_in(text, user);
        assert_eq!((login("www"), login("33"), login("7")), (Some((33, 34)), Some((33, 34)), Some((7, 7))));
        assert_eq!((login("bad"), login("none")), (None, None));
    }

    #[test]
    fn a_name_has_the_number_of_its_own_line() {
        let text = "root:x:0:0::/:/bin/sh\nbroken\nroo:x:7\nbad:x:y:z\n";
        assert_eq!((number_in(text, "root"), number_in(text, "roo")), (Some(0), Some(7)));
        assert_eq!(
            (number_in(text, "bad"), number_in(text, "broken"), number_in(text, "ro")),
            (None, None, None)
        );
    }
}
