//! The collector of NFS mounts: bytes, events, connections and operations of each (`node_mountstats_nfs_*`).

mod families;

use super::{CollectError, Collector, Entry};
use crate::host::mountstats::{NfsMount, addresses, nfs_mounts};
use crate::host::{Host, HostError, Kept, kept};
use crate::metric::{Desc, Sink, Value};
use families::{AGE, BYTES, EVENTS, INFO, OPERATIONS, TRANSPORTS};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "mountstats",
    on: false,
    make: |host, _| {
        Ok(Box::new(Mountstats {
            file: host.proc_file("self/mountstats"),
            mountinfo: host.proc_file("self/mountinfo"),
        }))
    },
};

/// Times are counted in milliseconds; some kernels let them run below zero, which shows as a number beyond what a
/// float holds exactly. node_exporter keeps the remainder, and so must we for the same series.
const FLOAT_EXACT_MAX: u64 = 1 << 53;

struct Mountstats {
    file: Kept,
    mountinfo: Kept,
}

/// A mount as the labels name it: the same export that is mounted twice is counted once.
#[derive(PartialEq, Eq)]
struct Named<'a> {
    mount: &'a NfsMount<'a>,
    labels: [&'a str; 3],
}

impl Collector for Mountstats {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, mountinfo } = self;
        let mounts =
            file.parse_lines(nfs_mounts)?.ok_or_else(|| CollectError::Absent("mountstats".into()))?;
        if mounts.is_empty() {
            return Ok(());
        }
        let path = mountinfo.path().to_owned();
        let text = mountinfo.read()?.ok_or_else(|| CollectError::Absent("mountinfo".into()))?;
        let places = addresses(kept::ended(text).map_err(|e| HostError::parse(&path, e))?);
        let (mut named, mut points): (Vec<Named<'_>>, Vec<[&str; 4]>) = (Vec::new(), Vec::new());
        for mount in &mounts {
            // A mount that is in one file and not in the other came or went between the two.
            let Some(address) = address(mount, &places) else { continue };
            for transport in &mount.transports {
                let labels = [mount.device, address, transport.protocol];
                let point = [mount.device, address, mount.mount_point, transport.protocol];
                if !points.contains(&point) {
                    points.push(point);
                }
                if named.iter().any(|named| named.labels == labels) {
                    break;
                }
                named.push(Named { mount, labels });
            }
        }
        write_mounts(&named, &points, out);
        write_transports(&named, out);
        write_operations(&named, out);
        Ok(())
    }
}

/// The server's address. Both files have the same order unless something was mounted in between.
fn address<'a>(mount: &NfsMount<'_>, places: &[(&str, &str, &'a str)]) -> Option<&'a str> {
    let same = |place: &&(&str, &str, &str)| (place.0, place.1) == (mount.device, mount.mount_point);
    let place = places.get(mount.place).filter(same).or_else(|| places.iter().find(same));
    place.map(|place| place.2)
}

fn write_mounts(named: &[Named<'_>], points: &[[&str; 4]], out: &mut dyn Sink) {
    if !points.is_empty() {
        out.family(&INFO);
        for point in points {
            out.sample(point, Value::U64(1));
        }
    }
    each(&AGE, named, |mount| mount.age_seconds, out);
    for (i, desc) in BYTES.iter().enumerate() {
        each(desc, named, |mount| mount.bytes.get(i).copied(), out);
    }
    for (i, desc) in &EVENTS {
        each(desc, named, |mount| mount.events.get(*i).copied(), out);
    }
}

fn each(
    desc: &Desc<'_>,
    named: &[Named<'_>],
    value: impl Fn(&NfsMount<'_>) -> Option<u64>,
    out: &mut dyn Sink,
) {
    let mut open = false;
    for Named { mount, labels } in named {
        let Some(value) = value(mount) else { continue };
        if !std::mem::replace(&mut open, true) {
            out.family(desc);
        }
        out.sample(labels, Value::U64(value));
    }
}

fn write_transports(named: &[Named<'_>], out: &mut dyn Sink) {
    for (place, desc) in &TRANSPORTS {
        let mut open = false;
        for Named { mount, labels: [export, address, protocol] } in named {
            for (i, transport) in mount.transports.iter().enumerate() {
                let Some(count) = transport.counts.get(*place) else { continue };
                if !std::mem::replace(&mut open, true) {
                    out.family(desc);
                }
                let count = if desc.name.ends_with("_seconds") { count % FLOAT_EXACT_MAX } else { *count };
                out.sample(&[export, address, protocol, &i.to_string()], Value::U64(count));
            }
        }
    }
}

fn write_operations(named: &[Named<'_>], out: &mut dyn Sink) {
    if named.iter().all(|named| named.mount.operations.is_empty()) {
        return;
    }
    for (i, desc) in OPERATIONS.iter().enumerate() {
        out.family(desc);
        for Named { mount, labels: [export, address, protocol] } in named {
            for operation in &mount.operations {
                let count = operation.counts.get(i).copied().unwrap_or_default();
                let value = if i < 5 {
                    Value::U64(count)
                } else {
                    Value::F64((count % FLOAT_EXACT_MAX) as f64 / 1000.0)
                };
                out.sample(&[export, address, operation.name, protocol], value);
            }
        }
    }
}
