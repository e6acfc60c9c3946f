//! The collector of uname(2): names and versions of the kernel and the machine (`node_uname_info`).

use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry { name: "uname", on: true, make: |_, _| Ok(Box::new(Uname)) };

const INFO: Desc<'static> = Desc::gauge(
    "node_uname_info",
    "Labeled system information as provided by the uname system call.",
    &["domainname", "machine", "nodename", "release", "sysname", "version"],
);

struct Uname;

impl Collector for Uname {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        crate::host::counted::call();
        let names = rustix::system::uname();
        let labels = [
            names.domainname(),
            names.machine(),
            names.nodename(),
            names.release(),
            names.sysname(),
            names.version(),
        ]
        .map(|name| name.to_string_lossy());
        out.family(&INFO);
        out.sample(&labels.each_ref().map(AsRef::as_ref), Value::U64(1));
        Ok(())
    }
}
