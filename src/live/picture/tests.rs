//! Pictures of passes.

use super::*;
use crate::metric::batch::Recorder;
use crate::metric::{Desc, Sink};

/// The values of a sample's labels, and its own.
type Row<'a> = (&'a [&'a str], f64);

/// The exposition of a small machine, as a collector would write it: name, labels, samples.
pub(in crate::live) fn batch(families: &[(&str, &[&str], &[Row<'_>])]) -> Batch {
    let mut out = Recorder::default();
    for (name, labels, samples) in families {
        out.family(&Desc::gauge(name, "Help.", labels));
        for (values, value) in *samples {
            out.sample(values, (*value).into());
        }
    }
    out.finish()
}

#[test]
fn groups_have_their_share_of_memory_where_it_is_measured() {
    let labels: &[&str] = &["groupname", "memtype"];
    let batch = batch(&[
        (
            GROUP_MEMORY,
            labels,
            &[
                (&["a", "resident"], 10.0),
                (&["a", "virtual"], 99.0),
                (&["a", "proportionalResident"], 7.0),
                (&["a", "swapped"], 2.0),
                (&["b", "resident"], 5.0),
            ],
        ),
        (GROUP_CPU, &["groupname", "mode"], &[(&["a", "user"], 1.5), (&["a", "system"], 0.5)]),
        (GROUP_PROCESSES, &["groupname"], &[(&["a"], 3.0), (&["b"], 1.0)]),
    ]);
    let picture = Picture::of(&batch, 1.0, 1.0);
    let a = Group { processes: Some(3.0), memory: Some(7.0), swap: Some(2.0), cpu: Some(2.0) };
    let b = Group { processes: Some(1.0), memory: Some(5.0), swap: None, cpu: None };
    assert_eq!(picture.groups, [("a".into(), a), ("b".into(), b)].into());
}

#[test]
fn what_the_kernel_does_not_say_is_not_there() {
    let picture = Picture::of(&Batch::default(), 5.0, 2.0);
    assert_eq!(picture, Picture { at: 5.0, beat: 2.0, ..Picture::default() });
}

#[test]
fn control_groups_are_those_whose_memory_is_known() {
    let batch = batch(&[
        (CGROUP_MEMORY, &["cgroup"], &[(&["/a"], 10.0), (&["/b"], 20.0)]),
        (CGROUP_LIMIT, &["cgroup"], &[(&["/b"], 40.0)]),
        (CGROUP_CPU, &["container", "id"], &[(&["x", "/b"], 4.0), (&["y", "/elsewhere"], 4.0)]),
    ]);
    let picture = Picture::of(&batch, 1.0, 1.0);
    let a = Cgroup { memory: Some(10.0), ..Cgroup::default() };
    let b = Cgroup { memory: Some(20.0), limit: Some(40.0), cpu: Some(4.0), some: None };
    assert_eq!(picture.cgroups, [("/a".into(), a), ("/b".into(), b)].into());
}

#[test]
fn a_machine_is_known_by_its_name_and_its_file_systems_by_where_they_are() {
    let labels: &[&str] = &["device", "fstype", "mountpoint"];
    let batch = batch(&[
        ("node_uname_info", &["nodename", "release"], &[(&["host", "6.1"], 1.0)]),
        ("node_os_info", &["pretty_name"], &[(&[""], 1.0)]),
        (
            "node_filesystem_size_bytes",
            labels,
            &[(&["/dev/a", "ext4", "/"], 100.0), (&["x", "none", "/x"], 0.0)],
        ),
        ("node_filesystem_avail_bytes", labels, &[(&["/dev/a", "ext4", "/"], 30.0)]),
        ("node_memory_SUnreclaim_bytes", &[], &[(&[], 3.0)]),
        ("node_memory_PageTables_bytes", &[], &[(&[], 4.0)]),
    ]);
    let picture = Picture::of(&batch, 1.0, 1.0);
    let about = About { host: Some("host".into()), os: None, kernel: Some("6.1".into()) };
    assert_eq!(picture.about, about);
    let root = FileSystem { mount: "/".into(), kind: "ext4".into(), size: 100.0, available: Some(30.0) };
    assert_eq!(picture.filesystems, [root], "what has no size is none");
    assert_eq!(picture.memory.kernel, Some(7.0));
}

#[test]
fn all_that_is_read_is_recorded() {
    let source = include_str!("../picture.rs");
    let names = source.split('"').filter(|text| {
        ["node_", "headroom_", "namedprocess_", "container_"].iter().any(|prefix| text.starts_with(prefix))
    });
    for name in names {
        assert!(FAMILIES.contains(&name), "{name} is read, and not among FAMILIES");
    }
}
