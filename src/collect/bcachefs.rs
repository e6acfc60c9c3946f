//! The collector of mounted bcachefs file systems (`node_bcachefs_*`).

use super::table::Found;
use super::{CollectError, Collector, Entry};
use crate::host::proc::parsed;
use crate::host::{Host, HostError, Tree, bcachefs, children, kept, system};
use crate::metric::{Desc, Kind, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "bcachefs",
    on: true,
    make: |host, _| Ok(Box::new(Bcachefs { tree: Tree::new(&host.sysfs.join("fs/bcachefs")) })),
};

const INFO: Desc<'static> = Desc::gauge("node_bcachefs_info", "Filesystem information.", &["uuid"]);
const CACHE: Desc<'static> =
    Desc::gauge("node_bcachefs_btree_cache_size_bytes", "Btree cache memory usage in bytes.", &["uuid"]);
const COMPRESSED: Desc<'static> = Desc::gauge(
    "node_bcachefs_compression_compressed_bytes",
    "Compressed size by algorithm.",
    &["algorithm", "uuid"],
);
const UNCOMPRESSED: Desc<'static> = Desc::gauge(
    "node_bcachefs_compression_uncompressed_bytes",
    "Uncompressed size by algorithm.",
    &["algorithm", "uuid"],
);
const ERRORS: Desc<'static> =
    Desc::counter("node_bcachefs_errors_total", "Error count by error type.", &["error_type", "uuid"]);
const WRITES: Desc<'static> =
    Desc::counter("node_bcachefs_btree_writes_total", "Number of btree writes by type.", &["type", "uuid"]);
const WRITE_SIZE: Desc<'static> = Desc::gauge(
    "node_bcachefs_btree_write_average_size_bytes",
    "Average btree write size by type.",
    &["type", "uuid"],
);
const DEVICE_INFO: Desc<'static> =
    Desc::gauge("node_bcachefs_device_info", "Device information.", &["device", "label", "state", "uuid"]);
const BUCKET_SIZE: Desc<'static> =
    Desc::gauge("node_bcachefs_device_bucket_size_bytes", "Bucket size in bytes.", &["device", "uuid"]);
const BUCKETS: Desc<'static> =
    Desc::gauge("node_bcachefs_device_buckets", "Total number of buckets.", &["device", "uuid"]);
const DURABILITY: Desc<'static> =
    Desc::gauge("node_bcachefs_device_durability", "Device durability setting.", &["device", "uuid"]);
const IO_DONE: Desc<'static> = Desc::counter(
    "node_bcachefs_device_io_done_bytes_total",
    "IO bytes by operation type and data type.",
    &["data_type", "device", "operation", "uuid"],
);
const IO_ERRORS: Desc<'static> = Desc::counter(
    "node_bcachefs_device_io_errors_total",
    "IO errors by error type.",
    &["device", "type", "uuid"],
);

/// The samples of one family.
type Samples = Vec<(Vec<String>, Value<'static>)>;

struct Bcachefs {
    tree: Tree,
}

/// The samples of all file systems.
#[derive(Default)]
struct Page {
    info: Samples,
    cache: Samples,
    compressed: Samples,
    uncompressed: Samples,
    errors: Samples,
    writes: Samples,
    write_size: Samples,
    device_info: Samples,
    bucket_size: Samples,
    buckets: Samples,
    durability: Samples,
    io_done: Samples,
    io_errors: Samples,
}

impl Collector for Bcachefs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let uuids = children(self.tree.path(&[]))?.unwrap_or_default();
        let (mut page, mut counters) = (Page::default(), Found::new(&["uuid"]));
        for uuid in uuids.iter().filter(|uuid| uuid.contains('-')) {
            page.info.push((vec![uuid.clone()], Value::U64(1)));
            self.read(uuid, &mut page)?;
            self.read_counters(uuid, &mut counters)?;
            self.read_devices(uuid, &mut page)?;
        }
        if page.info.is_empty() {
            return Err(CollectError::Absent("a bcachefs file system".into()));
        }
        page.write(out);
        counters.write(out);
        Ok(())
    }
}

impl Bcachefs {
    fn read(&mut self, uuid: &str, page: &mut Page) -> Result<(), HostError> {
        let label = |name: &str| vec![name.to_owned(), uuid.to_owned()];
        let tree = &mut self.tree;
        let cache = parsed(tree, &[uuid, "btree_cache_size"], bcachefs::one_amount)?;
        page.cache.extend(cache.map(|bytes| (vec![uuid.to_owned()], Value::F64(bytes))));
        parsed(tree, &[uuid, "compression_stats"], |text| {
            for (name, compressed, plain) in bcachefs::compression(kept::ended(text)?)? {
                page.compressed.push((label(name), Value::F64(compressed)));
                page.uncompressed.push((label(name), Value::F64(plain)));
            }
            Ok(())
        })?;
        parsed(tree, &[uuid, "errors"], |text| {
            let errors = bcachefs::errors(kept::ended(text)?)?;
            page.errors.extend(errors.into_iter().map(|(name, count)| (label(name), Value::U64(count))));
            Ok(())
        })?;
        parsed(tree, &[uuid, "btree_write_stats"], |text| {
            for (name, count, size) in bcachefs::btree_writes(kept::ended(text)?)? {
                page.writes.push((label(name), Value::U64(count)));
                page.write_size.push((label(name), Value::F64(size)));
            }
            Ok(())
        })?;
        Ok(())
    }

    fn read_counters(&mut self, uuid: &str, counters: &mut Found) -> Result<(), HostError> {
        for name in children(self.tree.path(&[uuid, "counters"]))?.unwrap_or_default() {
            let read = |text: &str| bcachefs::counter(kept::ended(text)?);
            let Some(count) = parsed(&mut self.tree, &[uuid, "counters", &name], read)?.flatten() else {
                continue;
            };
            let family = (format!("node_bcachefs_{}_total", super::metric_name(&name)), Kind::Counter);
            let help = || format!("Bcachefs counter {name} since filesystem creation.");
            counters.add(family, help, vec![uuid.to_owned()], Value::F64(count));
        }
        Ok(())
    }

    fn read_devices(&mut self, uuid: &str, page: &mut Page) -> Result<(), HostError> {
        for entry in children(self.tree.path(&[uuid]))?.unwrap_or_default() {
            let Some(device) = entry.strip_prefix("dev-") else { continue };
            let labels = || vec![device.to_owned(), uuid.to_owned()];
            let tree = &mut self.tree;
            let mut text = |file| -> Result<String, HostError> {
                Ok(tree.read(&[uuid, &entry, file])?.unwrap_or_default().trim().to_owned())
            };
            let facts = vec![device.to_owned(), text("label")?, text("state")?, uuid.to_owned()];
            page.device_info.push((facts, Value::U64(1)));
            let size = parsed(tree, &[uuid, &entry, "bucket_size"], bcachefs::one_amount)?;
            page.bucket_size.extend(size.map(|bytes| (labels(), Value::F64(bytes))));
            for (file, samples) in [("nbuckets", &mut page.buckets), ("durability", &mut page.durability)] {
                let value = parsed(tree, &[uuid, &entry, file], system::whole)?;
                samples.extend(value.map(|value| (labels(), Value::U64(value))));
            }
            parsed(tree, &[uuid, &entry, "io_done"], |text| {
                for (operation, data, bytes) in bcachefs::io_done(kept::ended(text)?)? {
                    let labels = [data, device, operation, uuid].map(String::from).into();
                    page.io_done.push((labels, Value::U64(bytes)));
                }
                Ok(())
            })?;
            parsed(tree, &[uuid, &entry, "io_errors"], |text| {
                for (kind, count) in bcachefs::io_errors(kept::ended(text)?)? {
                    page.io_errors.push(([device, kind, uuid].map(String::from).into(), Value::U64(count)));
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Page {
    fn write(&self, out: &mut dyn Sink) {
        for (desc, samples) in [
            (INFO, &self.info),
            (CACHE, &self.cache),
            (COMPRESSED, &self.compressed),
            (UNCOMPRESSED, &self.uncompressed),
            (ERRORS, &self.errors),
            (WRITES, &self.writes),
            (WRITE_SIZE, &self.write_size),
            (DEVICE_INFO, &self.device_info),
            (BUCKET_SIZE, &self.bucket_size),
            (BUCKETS, &self.buckets),
            (DURABILITY, &self.durability),
            (IO_DONE, &self.io_done),
            (IO_ERRORS, &self.io_errors),
        ] {
            if !samples.is_empty() {
                out.family(&desc);
            }
            for (labels, value) in samples {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                out.sample(&labels, *value);
            }
        }
    }
}
