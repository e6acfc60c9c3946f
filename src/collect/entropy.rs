//! The collector of the kernel's random numbers: how many bits its pool holds and could hold (`node_entropy_*`).

use super::{CollectError, Collector, Entry};
use crate::host::system::whole;
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "entropy",
    on: true,
    make: |host, _| {
        Ok(Box::new(Entropy {
            available: host.proc_file("sys/kernel/random/entropy_avail"),
            pool: host.proc_file("sys/kernel/random/poolsize"),
        }))
    },
};

const AVAILABLE: Desc<'static> =
    Desc::gauge("node_entropy_available_bits", "Bits of available entropy.", &[]);
const POOL: Desc<'static> = Desc::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.", &[]);

struct Entropy {
    available: Kept,
    pool: Kept,
}

impl Collector for Entropy {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let absent = |name: &str| CollectError::Absent(format!("sys/kernel/random/{name}"));
        let available = self.available.parse_lines(whole)?.ok_or_else(|| absent("entropy_avail"))?;
        let pool = self.pool.parse_lines(whole)?.ok_or_else(|| absent("poolsize"))?;
        single(out, &AVAILABLE, available);
        single(out, &POOL, pool);
        Ok(())
    }
}
