//! The collector of time: the clock, the time zone and the clock's source (`node_time_*`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, Kept, children};
use crate::metric::{Desc, Sink, Value, single};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::{SystemTime, UNIX_EPOCH};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "time", on: true, make: |_, _| Ok(Box::new(Time { sources: None })) };

const SECONDS: Desc<'static> =
    Desc::gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[]);
const ZONE: Desc<'static> =
    Desc::gauge("node_time_zone_offset_seconds", "System time zone offset in seconds.", &["time_zone"]);
const AVAILABLE: Desc<'static> = Desc::gauge(
    "node_time_clocksource_available_info",
    "Available clocksources read from '/sys/devices/system/clocksource'.",
    &["clocksource", "device"],
);
const CURRENT: Desc<'static> = Desc::gauge(
    "node_time_clocksource_current_info",
    "Current clocksource read from '/sys/devices/system/clocksource'.",
    &["clocksource", "device"],
);

struct Time {
    sources: Option<Vec<Source>>,
}

struct Source {
    device: String,
    files: [Kept; 2],
    available: String,
    current: String,
}

impl Collector for Time {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let sources = match &mut self.sources {
            Some(sources) => sources,
            None => self.sources.insert(find(host)?),
        };
        for source in &mut *sources {
            source.read()?;
        }
        // Only commands look at the clock and hand the time on; this one place is about the clock itself.
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).map_err(|e| CollectError::Failed(e.to_string()))?;
        let stamp = Timestamp::try_from(now).map_err(|e| CollectError::Failed(e.to_string()))?;
        let zone = TimeZone::system();
        let zone = if zone.is_unknown() { TimeZone::UTC } else { zone };
        let offset = zone.to_offset_info(stamp);
        single(out, &SECONDS, since.as_secs_f64());
        out.family(&ZONE);
        out.sample(&[offset.abbreviation()], Value::F64(f64::from(offset.offset().seconds())));
        write(sources, out);
        Ok(())
    }
}

fn find(host: &Host) -> Result<Vec<Source>, HostError> {
    const ROOT: &str = "devices/system/clocksource";
    let names = children(&host.sysfs.join(ROOT))?.unwrap_or_default();
    let numbered = |name: &&String| {
        name.strip_prefix("clocksource").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let file = |name: &str, file: &str| host.sys_file(&format!("{ROOT}/{name}/{file}"));
    let found = names.iter().filter(numbered).enumerate().map(|(i, name)| Source {
        device: i.to_string(),
        files: [file(name, "available_clocksource"), file(name, "current_clocksource")],
        available: String::new(),
        current: String::new(),
    });
    Ok(found.collect())
}

impl Source {
    fn read(&mut self) -> Result<(), HostError> {
        let [available, current] = &mut self.files;
        for (file, text) in [(available, &mut self.available), (current, &mut self.current)] {
            text.clear();
            text.push_str(file.read()?.unwrap_or_default().trim());
        }
        Ok(())
    }
}

fn write(sources: &[Source], out: &mut dyn Sink) {
    if sources.iter().any(|source| !source.available.is_empty()) {
        out.family(&AVAILABLE);
        for source in sources {
            for name in source.available.split_ascii_whitespace() {
                out.sample(&[name, &source.device], Value::U64(1));
            }
        }
    }
    if sources.iter().any(|source| !source.current.is_empty()) {
        out.family(&CURRENT);
        for source in sources.iter().filter(|source| !source.current.is_empty()) {
            out.sample(&[&source.current, &source.device], Value::U64(1));
        }
    }
}
