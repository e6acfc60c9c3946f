//! The collector of /proc/sys/fs/file-nr: open files and how many there may be (`node_filefd_*`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, system};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "filefd",
    on: true,
    make: |host, _| Ok(Box::new(Filefd { file: host.proc_file("sys/fs/file-nr") })),
};

const ALLOCATED: Desc<'static> =
    Desc::gauge("node_filefd_allocated", "File descriptor statistics: allocated.", &[]);
const MAXIMUM: Desc<'static> =
    Desc::gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[]);

struct Filefd {
    file: Kept,
}

impl Collector for Filefd {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let read = self.file.parse_lines(system::open_files)?;
        let (allocated, maximum) = read.ok_or_else(|| CollectError::Absent("sys/fs/file-nr".into()))?;
        single(out, &ALLOCATED, allocated);
        single(out, &MAXIMUM, maximum);
        Ok(())
    }
}
