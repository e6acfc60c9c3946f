//! The collector of ZFS: its caches, and each pool's state, work and data sets (`node_zfs_*`).

mod table;

use super::family::{Fields, Named, Opening};
use super::{CollectError, Collector, Entry};
use crate::host::kept::ended;
use crate::host::kstat::{Row, io, rows};
use crate::host::proc::parsed;
use crate::host::{Host, HostError, Kept, Listing, ParseError, Tree};
use crate::metric::{Desc, Kind, Sink, Value};
use table::Table;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "zfs",
    on: true,
    make: |host, _| {
        let directory = host.procfs.join("spl/kstat/zfs");
        Ok(Box::new(Zfs {
            tree: Tree::new(&directory),
            entries: Listing::new(directory).heard_by(&host.arrivals),
            fields: Fields::default(),
            io: Table::new(["node_zfs_zpool_", "kstat.zfs.misc.io."], &["zpool"]),
            data_sets: Table::new(
                ["node_zfs_zpool_dataset_", "kstat.zfs.misc.objset."],
                &["dataset", "zpool"],
            ),
        }))
    },
};

/// The files of the whole machine, and the word for each in the names of its families.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "abd"),
    ("arcstats", "arc"),
    ("dbufstats", "dbuf"),
    ("dmu_tx", "dmu_tx"),
    ("dnodestats", "dnode"),
    ("fm", "fm"),
    ("vdev_cache_stats", "vdev_cache"),
    ("vdev_mirror_stats", "vdev_mirror"),
    ("xuio_stats", "xuio"),
    ("zfetchstats", "zfetch"),
    ("zil", "zil"),
];
const STATE: Desc<'static> = Desc::gauge("node_zfs_zpool_state", "kstat.zfs.misc.state", &["state", "zpool"]);
const STATES: [&str; 7] = ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

struct Zfs {
    tree: Tree,
    entries: Listing<Entity>,
    fields: Fields,
    io: Table<1>,
    data_sets: Table<2>,
}

/// What stands in the directory.
enum Entity {
    File { file: Kept, name: &'static str, word: &'static str },
    Pool(Pool),
}

struct Pool {
    /// `objset-0x36` and the like, one for each data set.
    files: Listing<()>,
    state: Option<String>,
}

impl Collector for Zfs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { tree, entries, fields, io, data_sets } = self;
        entries
            .refresh(|path, name, is_file| {
                if !is_file {
                    return Some(Entity::Pool(Pool { files: Listing::new(path), state: None }));
                }
                let (name, word) = FILES.into_iter().find(|(file, _)| *file == name)?;
                Some(Entity::File { file: Kept::new(path), name, word })
            })?
            .ok_or_else(|| CollectError::Absent("spl/kstat/zfs".into()))?;
        fields.begin();
        io.begin();
        data_sets.begin();
        for (name, entity) in entries.items_mut() {
            match entity {
                Entity::File { file, name, word } => {
                    file.parse_lines(|text| numbers(text, (name, word), fields))?;
                }
                Entity::Pool(pool) => pool.read(name, tree, io, data_sets)?,
            }
        }
        fields.write(out);
        io.write(out);
        data_sets.write(out);
        write_states(entries, out);
        Ok(())
    }
}

/// Takes the numbers of one of [`FILES`].
fn numbers(text: &str, (file, word): (&str, &str), fields: &mut Fields) -> Result<(), ParseError> {
    for row in rows(text)? {
        let Row::Number(key, value) = row? else { continue };
        let make = || {
            let name = format!("node_zfs_{word}_{}", key.replace('-', "_"));
            Some(Named::new(name, format!("kstat.zfs.misc.{file}.{key}"), Kind::Untyped, &[]))
        };
        fields.take((file, key), || Ok(value), make)?;
    }
    Ok(())
}

impl Pool {
    fn read(
        &mut self,
        name: &str,
        tree: &mut Tree,
        work: &mut Table<1>,
        data_sets: &mut Table<2>,
    ) -> Result<(), HostError> {
        self.files.refresh(|_, file, _| file.starts_with("objset-").then_some(()))?;
        // A pool that was exported meanwhile is as if it had not been there.
        parsed(tree, &[name, "io"], |text| {
            work.row([name]);
            for (place, (key, value)) in io(ended(text)?)?.into_iter().enumerate() {
                work.set(place, key, value.into());
            }
            Ok(())
        })?;
        for (file, ()) in self.files.items() {
            parsed(tree, &[name, file], |text| data_set(text, name, data_sets))?;
        }
        self.state = parsed(tree, &[name, "state"], |text| {
            Ok(text.lines().next().unwrap_or_default().to_ascii_lowercase())
        })?;
        Ok(())
    }
}

/// Takes the numbers of a data set, whose name stands before them.
fn data_set(text: &str, pool: &str, table: &mut Table<2>) -> Result<(), ParseError> {
    let mut named = false;
    let mut place = 0;
    for row in rows(text)? {
        match row? {
            Row::Text("dataset_name", name) => {
                table.row([name, pool]);
                named = true;
            }
            Row::Number(key, value) if named => {
                table.set(place, key, value);
                place += 1;
            }
            Row::Number(..) => return Err(ParseError::new(1, "the name of the data set before its numbers")),
            Row::Text(..) => {}
        }
    }
    Ok(())
}

fn write_states(entries: &Listing<Entity>, out: &mut dyn Sink) {
    let mut family = Opening::new(&STATE);
    for (name, entity) in entries.items() {
        let Entity::Pool(Pool { state: Some(state), .. }) = entity else { continue };
        for label in STATES {
            family.sample(out, &[label, name], Value::U64((state == label).into()));
        }
    }
}
