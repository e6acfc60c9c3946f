//! Parsers of kernel files under hostile text: an answer or an error, never a panic.

use headroom::host::{
    arp, bcache, bcachefs, btrfs, cgroup, conntrack, cpuinfo, disk, drbd, hwmon, infiniband, interrupt, ipvs,
    kstat, md, memory, mount, mountstats, net, netstat, nfs, numa, parse, pci, proc, release, schedstat,
    slab, sockets, stat, system, vulnerability, xfs, zone,
};
use proptest::prelude::*;

const REAL: [&str; 27] = [
    include_str!("../host/machine/proc/net/arp"),
    include_str!("../host/machine/proc/net/stat/nf_conntrack"),
    "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 142\ncpu MHz\t\t: 799.998\nflags\t\t: fpu vme\n",
    "rate:\t\t1.1M/sec\ntarget:\t\t20.4G\nproportional:\t-427.5k\nUnused:\t\t99%\n",
    "commits 5\nlast_commit_ms 7\n",
    include_str!("../host/machine/proc/stat"),
    include_str!("../host/machine/proc/vmstat"),
    include_str!("../host/machine/proc/diskstats"),
    include_str!("../host/machine/proc/net/dev"),
    include_str!("../host/machine/proc/1/mountinfo"),
    include_str!("../host/machine/proc/loadavg"),
    include_str!("../host/machine/root/etc/os-release"),
    include_str!("../host/one_of_each.txt"),
    include_str!("../host/processes/proc/161/stat"),
    include_str!("../host/processes/proc/161/status"),
    include_str!("../host/processes/proc/161/io"),
    include_str!("../host/processes/proc/161/limits"),
    include_str!("../host/machine/proc/buddyinfo"),
    include_str!("../host/machine/proc/zoneinfo"),
    include_str!("../host/machine/proc/interrupts"),
    include_str!("../host/machine/proc/slabinfo"),
    include_str!("../host/machine/proc/net/stat/rt_cache"),
    include_str!("../host/machine/proc/self/mountstats"),
    include_str!("../host/machine/proc/drbd"),
    include_str!("../host/machine/sys/devices/system/node/node0/meminfo"),
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
    _ = arp::devices(text).count();
    _ = bcache::amount(text);
    _ = bcache::writeback(text);
    _ = bcache::priorities(text);
    _ = btrfs::commits(text);
    _ = conntrack::conntrack(text);
    _ = cpuinfo::cpuinfo(text);
    _ = hwmon::sensor_file(text);
    _ = hwmon::clean(text);
    _ = infiniband::state(text);
    _ = infiniband::bytes_per_second(text);
    _ = system::prefixed(text);
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
    _ = bcachefs::one_amount(text);
    _ = bcachefs::compression(text);
    _ = bcachefs::btree_writes(text);
    _ = bcachefs::errors(text);
    _ = bcachefs::counter(text);
    _ = bcachefs::io_done(text);
    _ = bcachefs::io_errors(text);
    _ = cgroup::subsystem::subsystems(text);
    _ = drbd::drbd(text);
    _ = interrupt::interrupts(text);
    _ = interrupt::softirqs(text);
    _ = mountstats::nfs_mounts(text);
    _ = mountstats::addresses(text);
    _ = net::cache_columns(text);
    _ = numa::node_meminfo(text);
    _ = pci::location(text);
    _ = pci::link_speed(text);
    _ = pci::hexadecimal(text);
    _ = pci::names(text, &pci::Ids::default());
    _ = slab::slabs(text).count();
    _ = vulnerability::vulnerability(text);
    _ = zone::buddyinfo(text);
    _ = zone::zoneinfo(text);
    _ = ipvs::totals(text);
    _ = ipvs::backends(text);
    _ = kstat::io(text);
    _ = kstat::rows(text).map(Iterator::count);
    _ = md::arrays(text).count();
    _ = netstat::counters(text, |_, _, count| netstat::count(count).map(drop));
    _ = netstat::counters6(text, |_, _, count| netstat::count(count).map(drop));
    _ = nfs::Counters::new(["net", "proc3", "th"]).take(text);
    _ = parse::integer(text);
    _ = schedstat::processors(text).count();
    _ = sockets::sockets(text, |_, _, _| Ok(()));
    _ = sockets::softnet(text).count();
    _ = sockets::queues(text);
    _ = xfs::stats(text);
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
