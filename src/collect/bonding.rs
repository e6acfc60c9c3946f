//! The collector of bonded network devices: how many devices each bond has, and how many of them work (`node_bonding_*`).

use super::{CollectError, Collector, Entry};
use crate::host::tree::Tree;
use crate::host::{Host, HostError, Kept};
use crate::metric::{Desc, Sink, Value};
use std::borrow::Cow;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "bonding",
    on: true,
    make: |host, _| {
        let tree = Tree::new(&host.sysfs.join("class/net"));
        Ok(Box::new(Bonding { masters: host.sys_file("class/net/bonding_masters"), tree }))
    },
};

const SLAVES: Desc<'static> =
    Desc::gauge("node_bonding_slaves", "Number of configured slaves per bonding interface.", &["master"]);
const ACTIVE: Desc<'static> =
    Desc::gauge("node_bonding_active", "Number of active slaves per bonding interface.", &["master"]);

struct Bonding {
    masters: Kept,
    tree: Tree,
}

struct Bond {
    name: String,
    slaves: u64,
    active: u64,
}

impl Collector for Bonding {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let absent = || CollectError::Absent("bonding_masters (the kernel's module bonding)".into());
        let masters = self.masters.read()?.ok_or_else(absent)?;
        let mut bonds = Vec::new();
        for name in masters.split_ascii_whitespace() {
            bonds.extend(bond(&mut self.tree, name)?);
        }
        if bonds.is_empty() {
            return Ok(());
        }
        for (desc, value) in
            [(&SLAVES, (|bond| bond.slaves) as fn(&Bond) -> u64), (&ACTIVE, |bond| bond.active)]
        {
            out.family(desc);
            for bond in &bonds {
                out.sample(&[&bond.name], Value::U64(value(bond)));
            }
        }
        Ok(())
    }
}

/// The state of a bond; `None` if it was dissolved while we looked.
fn bond(tree: &mut Tree, name: &str) -> Result<Option<Bond>, HostError> {
    let Some(slaves) = tree.read(&[name, "bonding/slaves"])?.map(Cow::into_owned) else {
        return Ok(None);
    };
    let mut out = Bond { name: name.to_owned(), slaves: 0, active: 0 };
    for slave in slaves.split_ascii_whitespace() {
        // Before 3.13 the link was called otherwise. A device that has neither has just left the bond.
        let states = ["lower_", "slave_"].map(|prefix| format!("{prefix}{slave}/bonding_slave/mii_status"));
        for file in states {
            if let Some(state) = tree.read(&[name, &file])? {
                out.slaves += 1;
                out.active += u64::from(state.trim() == "up");
                break;
            }
        }
    }
    Ok(Some(out))
}
