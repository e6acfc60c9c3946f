//! The parsers of what the kernel, drivers and services of the host say, each a line.

use super::{
    Parser,
    Run::{Bytes, Text},
};
use crate::host::container::{self, names, socket};
use crate::host::{
    arp, bcache, bcachefs, btrfs, cgroup, conntrack, cpuinfo, dbus, disk, drbd, ethtool, free, glob, group,
    hwmon, infiniband, interrupt, ipvs, kept, kstat, link, listing, md, memory, mount, mountstats, neighbour,
    net, netlink, netstat, nfs, numa, parse, pci, proc, release, route, schedstat, slab, sockets, stall,
    stat, system, systemd, tcp, vulnerability, wifi, xfs, zone,
};
use std::collections::BTreeMap;

/// Files of processes, and what names their users and groups.
pub(super) const PROCESS: &[Parser] = &[
    ("proc::boot_time", Text(|t| _ = proc::boot_time(t))),
    ("proc::cgroups", Text(|t| _ = proc::cgroups(t))),
    ("proc::classes::proportional_by_class", Text(|t| _ = proc::proportional_by_class(t))),
    ("proc::life::parse_wchan", Text(|t| _ = proc::parse_wchan(t))),
    ("proc::resources::io", Text(|t| _ = proc::io(t))),
    ("proc::resources::open_files_limit", Text(|t| _ = proc::open_files_limit(t))),
    ("proc::smaps::smaps", Text(|t| _ = proc::smaps(t))),
    ("proc::smaps::smaps_rollup", Text(|t| _ = proc::smaps_rollup(t))),
    ("proc::stat::stat", Text(|t| _ = proc::stat(t))),
    ("proc::status::status", Text(|t| _ = proc::status(t))),
    ("group::users::from_passwd", Text(|t| _ = group::Users::from_passwd(t))),
];

/// Files below /proc that tell of the whole machine.
pub(super) const SYSTEM: &[Parser] = &[
    ("arp::devices", Text(|t| _ = arp::devices(t).count())),
    ("conntrack::conntrack", Text(|t| _ = conntrack::conntrack(t))),
    ("cpuinfo::cpuinfo", Text(|t| _ = cpuinfo::cpuinfo(t))),
    ("interrupt::interrupts", Text(|t| _ = interrupt::interrupts(t))),
    ("interrupt::softirqs", Text(|t| _ = interrupt::softirqs(t))),
    ("ipvs::backends", Text(|t| _ = ipvs::backends(t))),
    ("ipvs::totals", Text(|t| _ = ipvs::totals(t))),
    ("kept::ended", Text(|t| _ = kept::ended(t))),
    ("memory::free_in_large_blocks", Text(|t| _ = memory::free_in_large_blocks(t, 4096))),
    ("memory::stalled_lately", Text(|t| _ = memory::stalled_lately(t))),
    ("stall::digits", Bytes(|b| _ = stall::digits(b))),
    ("stall::kibibytes", Bytes(|b| _ = stall::kibibytes(b, b"MemAvailable:"))),
    ("stall::total", Bytes(|b| _ = stall::total(b, stall::Kind::Full))),
    ("memory::free_per_cpu_pages", Text(|t| _ = memory::free_per_cpu_pages(t))),
    ("memory::meminfo", Text(|t| _ = memory::meminfo(t))),
    ("memory::meminfo_bytes", Text(|t| _ = memory::meminfo_bytes(t, "MemFree"))),
    ("memory::pressure", Text(|t| _ = memory::pressure(t))),
    ("mount::mounts", Text(|t| _ = mount::mounts(t))),
    ("mountstats::addresses", Text(|t| _ = mountstats::addresses(t))),
    ("mountstats::nfs_mounts", Text(|t| _ = mountstats::nfs_mounts(t))),
    ("net::cache_columns", Text(|t| _ = net::cache_columns(t))),
    ("net::devices", Text(|t| _ = net::devices(t).count())),
    ("netstat::count", Text(|t| _ = netstat::count(t))),
    (
        "netstat::pairs",
        Text(|t| {
            for pair in netstat::pairs(t).map_while(Result::ok) {
                _ = pair.numbers(pair.names().count(), |_, count| netstat::count(count).map(drop));
            }
        }),
    ),
    (
        "netstat::counters6",
        Text(|t| _ = netstat::counters6(t, |_, _, count| netstat::count(count).map(drop))),
    ),
    ("nfs::take", Text(|t| _ = nfs::Counters::new(["net", "proc3", "th"]).take(t))),
    ("parse::integer", Text(|t| _ = parse::integer(t))),
    ("parse::lines", Text(|t| _ = parse::lines(t).count())),
    ("parse::pair_lines", Text(|t| _ = parse::pair_lines(t).count())),
    ("parse::pairs", Text(|t| _ = parse::pairs(t))),
    ("parse::plain_lines", Text(|t| _ = parse::plain_lines(t).count())),
    ("parse::split_at_byte", Text(|t| _ = parse::split_at_byte(t, b' '))),
    ("release::major_minor", Text(|t| _ = release::major_minor(t))),
    ("release::os_release", Text(|t| _ = release::os_release(t))),
    ("schedstat::processors", Text(|t| _ = schedstat::processors(t).count())),
    ("slab::slabs", Text(|t| _ = slab::slabs(t).count())),
    ("sockets::queues", Text(|t| _ = sockets::queues(t))),
    ("sockets::sockets", Text(|t| _ = sockets::sockets(t, |_, _, _| Ok(())))),
    ("sockets::softnet", Text(|t| _ = sockets::softnet(t).count())),
    ("stat::cpus", Text(|t| _ = stat::cpus(t).count())),
    ("stat::stat", Text(|t| _ = stat::stat(t))),
    ("system::cpu_list", Text(|t| _ = system::cpu_list(t))),
    ("system::load_averages", Text(|t| _ = system::load_averages(t))),
    ("system::open_files", Text(|t| _ = system::open_files(t))),
    ("system::prefixed", Text(|t| _ = system::prefixed(t))),
    ("system::whole", Text(|t| _ = system::whole(t))),
    ("system::whole_signed", Text(|t| _ = system::whole_signed(t))),
    ("zone::buddyinfo", Text(|t| _ = zone::buddyinfo(t))),
    ("zone::zoneinfo", Text(|t| _ = zone::zoneinfo(t))),
];

/// Files of devices and file systems.
pub(super) const DEVICES: &[Parser] = &[
    ("bcache::amount", Text(|t| _ = bcache::amount(t))),
    ("bcache::priorities", Text(|t| _ = bcache::priorities(t))),
    ("bcache::writeback", Text(|t| _ = bcache::writeback(t))),
    ("bcachefs::amount", Text(|t| _ = bcachefs::amount(t))),
    ("bcachefs::btree_writes", Text(|t| _ = bcachefs::btree_writes(t))),
    ("bcachefs::compression", Text(|t| _ = bcachefs::compression(t))),
    ("bcachefs::counter", Text(|t| _ = bcachefs::counter(t))),
    ("bcachefs::errors", Text(|t| _ = bcachefs::errors(t))),
    ("bcachefs::io_done", Text(|t| _ = bcachefs::io_done(t))),
    ("bcachefs::io_errors", Text(|t| _ = bcachefs::io_errors(t))),
    ("bcachefs::one_amount", Text(|t| _ = bcachefs::one_amount(t))),
    ("btrfs::commits", Text(|t| _ = btrfs::commits(t))),
    ("btrfs::ratio", Text(|t| _ = btrfs::ratio(t, t.len()))),
    ("disk::disks", Text(|t| _ = disk::disks(t).count())),
    ("disk::udev_property", Text(|t| _ = disk::udev_property(t, "A"))),
    ("drbd::drbd", Text(|t| _ = drbd::drbd(t).iter().all(|one| one.number("ns").is_ok()))),
    ("free::mem_used_total", Text(|t| _ = free::mem_used_total(t))),
    ("hwmon::clean", Text(|t| _ = hwmon::clean(t))),
    ("hwmon::sensor_file", Text(|t| _ = hwmon::sensor_file(t))),
    ("infiniband::bytes_per_second", Text(|t| _ = infiniband::bytes_per_second(t))),
    ("infiniband::state", Text(|t| _ = infiniband::state(t))),
    ("kstat::io", Text(|t| _ = kstat::io(t))),
    ("kstat::rows", Text(|t| _ = kstat::rows(t).map(Iterator::count))),
    ("listing::numbered", Text(|t| _ = listing::numbered(t, "st"))),
    ("md::arrays", Text(|t| _ = md::arrays(t).count())),
    ("numa::node_meminfo", Text(|t| _ = numa::node_meminfo(t))),
    ("pci::hexadecimal", Text(|t| _ = pci::hexadecimal(t))),
    ("pci::link_speed", Text(|t| _ = pci::link_speed(t))),
    ("pci::location", Text(|t| _ = pci::location(t))),
    ("pci::names", Text(|t| _ = pci::names(t, &pci::Ids::default()))),
    ("vulnerability::vulnerability", Text(|t| _ = vulnerability::vulnerability(t))),
    ("xfs::stats", Text(|t| _ = xfs::stats(t))),
];

/// Files of control groups, and the names of what runs in them.
pub(super) const GROUPS: &[Parser] = &[
    ("cgroup::files::amount", Text(|t| _ = cgroup::files::amount(t))),
    ("cgroup::files::events", Text(|t| _ = cgroup::files::events(t))),
    ("cgroup::files::limit", Text(|t| _ = cgroup::files::limit(t))),
    ("cgroup::files::protection", Text(|t| _ = cgroup::files::protection(t))),
    ("cgroup::files::stat", Text(|t| _ = cgroup::files::stat(t, &mut cgroup::GroupMemory::default()))),
    ("cgroup::files::v1_limit", Text(|t| _ = cgroup::files::v1_limit(t))),
    ("cgroup::files::v1_oom_kills", Text(|t| _ = cgroup::files::v1_oom_kills(t))),
    ("cgroup::files::v1_stat", Text(|t| _ = cgroup::files::v1_stat(t, &mut cgroup::GroupMemory::default()))),
    ("cgroup::subsystem::subsystems", Text(|t| _ = cgroup::subsystem::subsystems(t))),
    ("container::files::amount", Text(|t| _ = container::files::amount(t))),
    ("container::files::blkio", Text(|t| _ = container::files::blkio(t, true, &mut Vec::new()))),
    ("container::files::cfs_quota", Text(|t| _ = container::files::cfs_quota(t))),
    ("container::files::cpu_max", Text(|t| _ = container::files::cpu_max(t))),
    (
        "container::files::cpu_stat",
        Text(|t| _ = container::files::cpu_stat(t, &mut container::Cpu::default())),
    ),
    (
        "container::files::cpuacct_stat",
        Text(|t| _ = container::files::cpuacct_stat(t, 100, &mut container::Cpu::default())),
    ),
    ("container::files::cpuacct_usage", Text(|t| _ = container::files::cpuacct_usage(t))),
    (
        "container::files::memory_events",
        Text(|t| _ = container::files::memory_events(t, &mut container::Memory::default())),
    ),
    ("container::files::field", Text(|t| _ = container::files::field(t, "swap"))),
    ("container::files::io_stat", Text(|t| _ = container::files::io_stat(t))),
    ("container::files::limit", Text(|t| _ = container::files::limit(t))),
    (
        "container::files::memory_stat",
        Text(|t| _ = container::files::memory_stat(t, &mut container::Memory::default())),
    ),
    ("container::files::processes", Text(|t| _ = container::files::processes(t))),
    ("container::files::shares", Text(|t| _ = container::files::shares(t))),
    ("container::names::container", Text(|t| _ = names::container(t))),
    ("container::names::pod", Text(|t| _ = names::pod(t))),
    ("container::path::container_id", Text(|t| _ = container::container_id(t))),
    ("container::path::container_around", Text(|t| _ = container::container_around(t))),
    ("container::path::pod_uid", Text(|t| _ = container::pod_uid(t))),
    ("container::socket::parse", Bytes(|b| _ = socket::parse(b))),
];

/// Answers of the kernel by netlink and ioctl, and of services by D-Bus.
pub(super) const ANSWERS: &[Parser] = &[
    ("dbus::receive", Bytes(whole_dbus)),
    ("ethtool::counts", Bytes(counts)),
    ("ethtool::driver", Bytes(|b| _ = ethtool::driver(b))),
    ("ethtool::link", Bytes(|b| _ = ethtool::link(b))),
    ("glob::matches", Text(|t| _ = t.split_once('\n').map(|(pattern, name)| glob::matches(pattern, name)))),
    ("neighbour::messages", Bytes(|b| _ = neighbour::messages(b, &mut |_| {}))),
    ("netlink::attribute", Bytes(|b| _ = netlink::attribute(b, 1))),
    ("netlink::attributes", Bytes(|b| _ = netlink::attributes(b).count())),
    ("netlink::text", Bytes(|b| _ = netlink::text(b))),
    ("link::address", Bytes(|b| _ = link::address(b))),
    ("link::cable", Bytes(|b| _ = link::cable(b))),
    ("link::counts", Bytes(|b| _ = link::counts(b))),
    ("link::hexadecimal", Bytes(|b| _ = link::hexadecimal(b))),
    ("link::link", Bytes(|b| _ = link::link(b))),
    ("route::address", Bytes(|b| _ = route::address(b))),
    ("route::link", Bytes(|b| _ = route::link(b))),
    ("route::queue", Bytes(|b| _ = route::queue(b, &BTreeMap::new()))),
    ("route::route", Bytes(|b| _ = route::route(b, &BTreeMap::new()))),
    ("tcp::add", Bytes(|b| tcp::Connections::default().add(b))),
    ("wifi::interface", Bytes(|b| _ = wifi::interface(b))),
    ("wifi::network", Bytes(|b| _ = wifi::network(b))),
    ("wifi::rate", Bytes(|b| _ = wifi::rate(b))),
    ("wifi::ssid", Bytes(|b| _ = wifi::ssid(b))),
    ("wifi::station", Bytes(|b| _ = wifi::station(b))),
];

/// A message of D-Bus, and both forms in which its body is read.
fn whole_dbus(mut bytes: &[u8]) {
    let Ok(message) = dbus::receive(&mut bytes) else { return };
    _ = message.answer.variant();
    _ = message.answer.structures(systemd::unit);
}

/// The first half is the names of counters, the second one the counts.
fn counts(bytes: &[u8]) {
    let half = bytes.len() / 2;
    _ = bytes.split_at_checked(half).map(|(names, values)| ethtool::counts(names, values));
}
