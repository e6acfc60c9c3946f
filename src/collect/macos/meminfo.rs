//! The collector of memory and swap, under the names that node_exporter has on macOS (`node_memory_total_bytes`).

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, single};
use sysinfo::System;

/// This collector's line in the list.
pub(super) const ENTRY: Entry =
    Entry { name: "meminfo", on: true, make: |_, _| Ok(Box::new(Memory { system: None })) };

struct Memory {
    system: Option<System>,
}

impl Collector for Memory {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let system = match &mut self.system {
            Some(system) => system,
            None => self.system.insert(System::new().map_err(failed)?),
        };
        system.refresh_memory();
        if system.total_memory() == 0 {
            return Err(CollectError::Failed("the system does not say how much memory there is".into()));
        }
        for (name, help, bytes) in [
            ("node_memory_total_bytes", "Memory information field total_bytes.", system.total_memory()),
            ("node_memory_free_bytes", "Memory information field free_bytes.", system.free_memory()),
            (
                "node_memory_swap_total_bytes",
                "Memory information field swap_total_bytes.",
                system.total_swap(),
            ),
            ("node_memory_swap_used_bytes", "Memory information field swap_used_bytes.", system.used_swap()),
            (
                "headroom_memory_available_bytes",
                "Memory that is free or can be taken without compression: active, inactive and free pages.",
                system.available_memory(),
            ),
        ] {
            single(out, &Desc::gauge(name, help, &[]), bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{linux, page, value};
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        let (ours, kernels) = (page(&ENTRY), linux("meminfo"));
        let kernel = |field: &str| value(&kernels, &format!("node_memory_{field}_bytes"));
        assert_eq!(value(&ours, "node_memory_total_bytes"), kernel("MemTotal"));
        assert_eq!(value(&ours, "node_memory_swap_total_bytes"), kernel("SwapTotal"));
        for (series, field) in
            [("node_memory_free_bytes", "MemFree"), ("headroom_memory_available_bytes", "MemAvailable")]
        {
            let (a, b) = (value(&ours, series), kernel(field));
            assert!((a - b).abs() < 0.2 * kernel("MemTotal"), "{series}: {a}, the kernel says {b}");
        }
        assert!(value(&ours, "node_memory_swap_used_bytes") <= kernel("SwapTotal"));
    }
}
