//! Parsers of kernel files under hostile text: an answer or an error, never a panic.

use headroom::host::{disk, memory, mount, net, parse, proc, release, stat, system};
use proptest::prelude::*;

const REAL: [&str; 13] = [
    include_str!("../host/machine/proc/stat"),
    include_str!("../host/machine/proc/vmstat"),
    include_str!("../host/machine/proc/diskstats"),
    include_str!("../host/machine/proc/net/dev"),
    include_str!("../host/machine/proc/1/mountinfo"),
    include_str!("../host/machine/proc/loadavg"),
    include_str!("../host/machine/root/etc/os-release"),
    include_str!("../host/processes/proc/161/stat"),
    include_str!("../host/processes/proc/161/status"),
    include_str!("../host/processes/proc/161/io"),
    include_str!("../host/processes/proc/161/limits"),
    "1000-2000 r--p 00000000 fe:00 12 /a\nRss: 4 kB\nReferenced: 4 kB\nAnonymous: 0 kB\nSwap: 0 kB\nLocked: 0 kB\nVmFlags: rd\n",
    "1000-2000 ---p 00000000 00:00 0 [rollup]\nRss: 4 kB\nPss: 4 kB\nSwap: 0 kB\n",
];

/// Gives a text to every parser.
fn parse_all(text: &str) {
    _ = proc::stat(text);
    _ = proc::status(text);
    _ = proc::io(text);
    _ = proc::open_files_limit(text);
    _ = proc::smaps(text);
    _ = proc::smaps_rollup(text);
    _ = proc::proportional_by_class(text);
    _ = proc::parse_wchan(text);
    _ = proc::cgroups(text);
    _ = proc::boot_time(text);
    _ = memory::pressure(text);
    _ = memory::meminfo(text);
    _ = stat::cpus(text).count();
    _ = stat::stat(text);
    _ = disk::disks(text).count();
    _ = disk::udev_property(text, "A");
    _ = net::devices(text).count();
    _ = mount::mounts(text);
    _ = parse::pairs(text);
    _ = release::os_release(text);
    _ = release::major_minor(text);
    _ = system::load_averages(text);
    _ = system::open_files(text);
    _ = system::cpu_list(text);
    _ = system::whole(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        parse_all(&text);
    }

    #[test]
    fn no_damaged_text_panics(which in 0..REAL.len(), at in any::<prop::sample::Index>(), put in "[-:()0-9 \\n\u{fc}]{0,3}") {
        let text = REAL[which];
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (head, tail) = text.split_at(at);
        parse_all(head);
        parse_all(&format!("{head}{put}{tail}"));
        parse_all(&format!("{head}{put}{}", tail.get(1..).unwrap_or_default()));
    }
}
