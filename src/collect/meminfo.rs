//! The collector of /proc/meminfo: every field as `node_memory_NAME_bytes` (or without a unit for counts), and when what is
//! available will be used up.

use super::cgroup::Clock;
use super::trend::Trend;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, memory};
use crate::metric::{Desc, Sink, Value, single};
use std::time::Instant;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "meminfo",
    on: true,
    make: |host, _| {
        let begun = Instant::now();
        Ok(collector(host, Box::new(move || begun.elapsed())))
    },
};

/// Makes the collector with a clock of its own for what it says about the last minutes.
pub fn collector(host: &Host, clock: Clock) -> Box<dyn Collector> {
    let file = host.proc_file("meminfo");
    Box::new(Meminfo { file, families: Vec::new(), clock, used: Trend::default() })
}

const TIME_TO_EXHAUSTION: Desc<'static> = Desc::gauge(
    "headroom_memory_time_to_exhaustion_seconds",
    "Seconds until the machine's MemAvailable is used up if it goes on falling as in the last 5 to 10 minutes; absent if it \
     does not fall, if there are less than five samples, and beyond a day. What swap could take is not counted.",
    &[],
);

struct Meminfo {
    file: Kept,
    clock: Clock,
    /// Of what is not available.
    used: Trend,
    /// Name and help of each field, made once: the kernel's list does not change while it runs.
    families: Vec<Family>,
}

struct Family {
    field: String,
    name: String,
    help: String,
}

impl Collector for Meminfo {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let fields =
            self.file.parse_lines(memory::meminfo)?.ok_or_else(|| CollectError::Absent("meminfo".into()))?;
        let bytes = |name| fields.iter().find_map(|f| (f.name == name && f.bytes).then_some(f.value));
        let time_left = bytes("MemTotal").zip(bytes("MemAvailable")).and_then(|(total, available)| {
            self.used.add((self.clock)(), total.saturating_sub(available));
            self.used.seconds_until(available)
        });
        for (i, field) in fields.iter().enumerate() {
            if self.families.get(i).is_none_or(|f| f.field != field.name) {
                self.families.truncate(i);
                self.families.push(Family::new(field));
            }
            let Some(family) = self.families.get(i) else { continue };
            out.family(&Desc::gauge(&family.name, &family.help, &[]));
            out.sample(&[], Value::U64(field.value));
        }
        if let Some(seconds) = time_left {
            single(out, &TIME_TO_EXHAUSTION, seconds);
        }
        Ok(())
    }
}

impl Family {
    /// node_exporter's name for a field: parentheses become underscores, amounts end in `_bytes`.
    fn new(field: &memory::MemField<'_>) -> Self {
        let mut stem = field.name.replace('(', "_").replace(')', "");
        if field.bytes {
            stem.push_str("_bytes");
        }
        Self {
            field: field.name.to_owned(),
            name: format!("node_memory_{stem}"),
            help: format!("Memory information field {stem}."),
        }
    }
}
