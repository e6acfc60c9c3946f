//! The collector of os-release: name, version and end of support of the operating system (`node_os_*`).

use super::{CollectError, Collector, Entry};
use crate::host::plain::{Stamp, stamp};
use crate::host::{Host, HostError, ParseError, Seen, read_once, release};
use crate::metric::{Desc, Sink, Value, single};
use std::path::PathBuf;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "os",
    on: true,
    make: |host, _| {
        let (paths, seen) = (FILES.map(|path| host.root_path(path)), Seen::heard_by(&host.arrivals));
        Ok(Box::new(Os { paths, seen, facts: Facts::default() }))
    },
};

/// Where the file is, in the order of os-release(5).
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// The labels, and the assignment that each is taken from.
const LABELS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];
const INFO: Desc<'static> = Desc::gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, \
     pretty_name, variant, variant_id, version, version_codename, version_id.",
    &LABELS,
);
const VERSION: Desc<'static> = Desc::gauge(
    "node_os_version",
    "Metric containing the major.minor part of the OS version.",
    &["id", "id_like", "name"],
);
const SUPPORT_END: Desc<'static> = Desc::gauge(
    "node_os_support_end_timestamp_seconds",
    "Metric containing the end-of-life date timestamp of the OS.",
    &[],
);

struct Os {
    paths: [PathBuf; 2],
    /// Which file it was, and what it looked like when it was read; packages replace it once in a while.
    seen: Seen<Option<(usize, Stamp)>>,
    facts: Facts,
}

#[derive(Default)]
struct Facts {
    labels: [String; 12],
    version: Option<f64>,
    support_end_seconds: Option<i64>,
}

impl Collector for Os {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let paths = &self.paths;
        let look = || paths.iter().enumerate().find_map(|(i, path)| Some((i, stamp(path)?)));
        if let Some(present) = self.seen.changed(look) {
            self.facts = self.read()?;
            self.seen.keep(present);
        }
        self.facts.write(out);
        Ok(())
    }
}

impl Os {
    fn read(&self) -> Result<Facts, CollectError> {
        for path in &self.paths {
            if let Some(text) = read_once(path)? {
                return Facts::new(&text).map_err(|e| HostError::parse(path, e).into());
            }
        }
        Err(CollectError::Absent("os-release".into()))
    }
}

impl Facts {
    fn new(text: &str) -> Result<Self, ParseError> {
        let mut out = Self::default();
        for (name, value) in release::os_release(text)? {
            if name == "SUPPORT_END" {
                let wrong = |_| ParseError::new(1, "SUPPORT_END as YYYY-MM-DD");
                let day: jiff::civil::Date = value.parse().map_err(wrong)?;
                let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(wrong)?;
                out.support_end_seconds = Some(midnight.timestamp().as_second());
            } else if let Some((_, slot)) =
                LABELS.iter().zip(&mut out.labels).find(|(label, _)| label.eq_ignore_ascii_case(name))
            {
                *slot = value;
            }
        }
        let [.., version_id] = &out.labels;
        out.version = release::major_minor(version_id).filter(|version| *version > 0.0);
        Ok(out)
    }

    fn write(&self, out: &mut dyn Sink) {
        out.family(&INFO);
        out.sample(&self.labels.each_ref().map(String::as_str), Value::U64(1));
        if let Some(version) = self.version {
            let [_, id, id_like, _, _, name, ..] = &self.labels;
            out.family(&VERSION);
            out.sample(&[id, id_like, name], Value::F64(version));
        }
        if let Some(seconds) = self.support_end_seconds {
            single(out, &SUPPORT_END, seconds as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_support_is_a_time() {
        let facts = Facts::new("ID=fedora\nSUPPORT_END=2024-05-14\nVERSION_ID=38\n").unwrap();
        assert_eq!((facts.support_end_seconds, facts.version), (Some(1_715_644_800), Some(38.0)));
        assert_eq!(facts.labels[1], "fedora");
        assert!(Facts::new("SUPPORT_END=soon\n").is_err());
        assert_eq!(Facts::new("ID=arch\n").unwrap().version, None);
    }
}
