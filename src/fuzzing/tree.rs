//! A whole host on disk, damaged file by file: every collector still answers, and those whose files are whole say the same.

mod damage;
mod exit;
mod watch;

use crate::collect::{Collector, Entry, Options, REGISTRY, process_groups, qdisc, sysctl, textfile, wifi};
use crate::encode::text::TextEncoder;
use crate::host::Host;
use crate::metric::Sink;
use damage::{Damage, Program};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use watch::Watch;

/// The recorded hosts that are put on disk, each out of these parts of `tests/host`.
pub const HOSTS: [&[&str]; 6] = [
    &["machine", "one_of_each.txt"],
    &["processes"],
    &["cgroup-hybrid"],
    &["cgroup-v2"],
    &["containers-v1"],
    &["containers-v2"],
];

/// Collectors that ask the kernel instead of files (netdev where there is no net/dev), or say what changes by itself.
const OWN_WAYS: [&str; 8] =
    ["ethtool", "netdev", "network_route", "systemd", "tcpstat", "time", "timex", "uname"];
/// Families whose values change from moment to moment, or with the machine that the tree stands on.
const MOVING: [&str; 4] = [
    "container_last_seen",
    "container_start_time_seconds",
    "node_filesystem_",
    "node_textfile_mtime_seconds",
];
/// Collectors whose counts go on from what a damaged file said: after a leap back they hold on, or begin anew.
const REMEMBERS: [&str; 2] = ["cpu", "process_groups"];
/// After so many passes a file that was missing was looked for again (see [`crate::host::attribute`]).
const PASSES_UNTIL_FOUND: usize = 62;
/// The most files that are damaged at a time.
const DAMAGES_MAX: u8 = 4;

/// A host on disk, and what each collector says and opens while it is whole.
pub struct Rig {
    root: PathBuf,
    host: Host,
    options: Options,
    files: Vec<File>,
    known: Vec<Known>,
}

/// A file below the root, as it is when it is whole.
struct File {
    path: String,
    bytes: Vec<u8>,
}

struct Known {
    entry: &'static Entry,
    /// What it opened, files and directories, in this order.
    opened: Vec<String>,
    /// Its page; none if it failed.
    page: Option<String>,
}

impl Rig {
    /// Puts a host of [`HOSTS`] below `root`, where nothing else may be; `recorded` is `tests/host`.
    pub fn new(recorded: &Path, parts: &[&str], root: &Path) -> io::Result<Self> {
        for part in parts {
            let from = recorded.join(part);
            if from.is_dir() {
                copy(&from, root)?;
            } else {
                unpack(&std::fs::read_to_string(from)?, root)?;
            }
        }
        let mut files = Vec::new();
        list(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let at = |name: &str| root.join(name);
        let host = Host {
            procfs: at("proc"),
            sysfs: at("sys"),
            rootfs: at("root"),
            udev_data: at("udev"),
            ..Host::default()
        };
        let mut out = Self { root: root.to_owned(), host, options: options(root), files, known: Vec::new() };
        for entry in REGISTRY.iter().filter(|entry| !OWN_WAYS.contains(&entry.name)) {
            let watch = Watch::new(&out.root)?;
            // What another collector has open already would not be seen to be opened.
            out.host.stat = Host::default().stat;
            let page = out.page(&mut *out.collector(entry), entry.name);
            let opened = watch.opened()?;
            let again = out.page(&mut *out.collector(entry), entry.name);
            assert!(
                page == again,
                "{}: two passes differ: {}",
                entry.name,
                difference(page.as_ref(), again.as_ref())
            );
            out.known.push(Known { entry, opened, page });
        }
        assert!(out.known.iter().any(|known| known.page.is_some()), "no collector finds anything");
        Ok(out)
    }

    /// Damages the files that a program says, lets every collector answer, and makes the files whole again.
    /// Panics if a collector does, or says what it should not.
    pub fn run(&self, program: &[u8]) {
        let mut program = Program(program);
        // Whether the collectors were there before the damage, with their files open.
        let before = program.byte() % 2 == 0;
        let mut collectors: Vec<_> = self.known.iter().map(|known| self.collector(known.entry)).collect();
        if before {
            self.pass(&mut collectors, &[]);
        }
        let damaged = self.damage(&mut program);
        self.pass(&mut collectors, &damaged.files);
        let text = format!("{:?}", damaged.files);
        drop(damaged);
        // What was read of a damaged file when the collector was made, as a name, is not read again.
        let same = |known: &&Known| before && !REMEMBERS.contains(&known.entry.name);
        for (known, collector) in self.known.iter().zip(&mut collectors).filter(|(known, _)| same(known)) {
            let name = known.entry.name;
            let mut page = || self.page(&mut **collector, name);
            let healed = (0..PASSES_UNTIL_FOUND).any(|_| page() == known.page);
            assert!(
                healed,
                "{name}: {text} was mended, and it differs: {}",
                difference(known.page.as_ref(), page().as_ref())
            );
        }
    }

    fn damage(&self, program: &mut Program<'_>) -> Damaged<'_> {
        let mut out = Damaged { root: &self.root, files: Vec::new() };
        for _ in 0..=program.byte() % DAMAGES_MAX {
            let file = self.files.get(program.below(self.files.len()));
            let damage = Damage::read(program);
            let fresh = |file: &&File| !out.files.iter().any(|(other, _)| other.path == file.path);
            let Some(file) = file.filter(fresh) else { continue };
            out.files.push((file, damage));
            let done = damage.apply(&self.root.join(&file.path), &file.bytes);
            done.unwrap_or_else(|e| panic!("cannot damage {}: {e}", file.path));
        }
        out
    }

    /// One pass; whoever opened none of the damaged files says what it said of the whole ones.
    fn pass(&self, collectors: &mut [Box<dyn Collector>], damaged: &[(&File, Damage)]) {
        let mut whole = String::new();
        for (known, collector) in self.known.iter().zip(collectors) {
            let page = self.page(&mut **collector, known.entry.name);
            if !damaged.iter().any(|(file, damage)| known.depends_on(&file.path, *damage)) {
                let name = known.entry.name;
                let same = page == known.page;
                assert!(
                    same,
                    "{name} reads none of {damaged:?}: {}",
                    difference(known.page.as_ref(), page.as_ref())
                );
            }
            whole.extend(page);
        }
        // A device that stands twice in a file stands twice on the page; Prometheus takes the first and counts the rest.
        let mut seen = HashSet::new();
        let once: Vec<&str> = whole
            .lines()
            .filter(|line| {
                damaged.is_empty()
                    || line.starts_with('#')
                    || seen.insert(line.rsplit_once(' ').map(|(s, _)| s))
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let error = textfile::show(once.concat().as_bytes(), &mut TextEncoder::default()).err();
        assert!(error.is_none(), "the page with {damaged:?}: {error:?}\n{whole}");
    }

    fn collector(&self, entry: &Entry) -> Box<dyn Collector> {
        (entry.make)(&self.host, &self.options).unwrap_or_else(|e| panic!("{}: {e}", entry.name))
    }

    /// What a collector writes in one pass, without what moves; none if it failed, and then it has written nothing.
    fn page(&self, collector: &mut dyn Collector, name: &str) -> Option<String> {
        let mut out = TextEncoder::default();
        let mark = out.mark();
        let result = collector.collect(&self.host, &mut out);
        let page = String::from_utf8_lossy(out.page()).into_owned();
        assert!(result.is_ok() || out.mark() == mark, "{name} failed after it wrote {page}");
        result.ok()?;
        Some(page.lines().map(steady).collect())
    }
}

/// Files that are damaged; they are mended when this goes, a panic or not.
struct Damaged<'a> {
    root: &'a Path,
    files: Vec<(&'a File, Damage)>,
}

impl Drop for Damaged<'_> {
    fn drop(&mut self) {
        for (file, _) in &self.files {
            if let Err(e) = damage::mend(&self.root.join(&file.path), &file.bytes) {
                eprintln!("cannot mend {}: {e}", file.path);
            }
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Known {
    /// Whether what the collector says may change with this file.
    fn depends_on(&self, file: &str, damage: Damage) -> bool {
        // A file that is no file any more is missed by whoever looks into its directory.
        let parent = file.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.opened.iter().any(|path| path == file || (damage.replaces() && path == parent))
    }
}

/// The first line in which two pages differ.
fn difference(before: Option<&String>, after: Option<&String>) -> String {
    let (Some(before), Some(after)) = (before, after) else {
        return format!("a page before: {}, after: {}", before.is_some(), after.is_some());
    };
    let all: BTreeSet<&str> = before.lines().collect();
    let strange = after.lines().find(|line| !all.contains(line));
    let missing = before.lines().find(|line| !after.lines().any(|other| other == *line));
    format!("missing {missing:?}, instead {strange:?}")
}

/// A line, without its value if that is another one in each pass.
fn steady(line: &str) -> String {
    let moving = MOVING.iter().any(|prefix| line.starts_with(prefix));
    match line.rsplit_once(' ') {
        Some((series, _)) if moving => format!("{series} 1\n"),
        _ => format!("{line}\n"),
    }
}

/// Everything that a collector can be told to read.
fn options(root: &Path) -> Options {
    let recorded = |name: &str| root.join(name).to_string_lossy().into_owned();
    Options {
        qdisc: qdisc::Options { fixtures: recorded("qdisc"), ..Default::default() },
        wifi: wifi::Options { fixtures: recorded("wifi") },
        sysctl: sysctl::Options {
            include: vec!["fs.file-nr:total,free,max".into(), "kernel.threads-max".into()],
            include_info: vec!["kernel.pid_max".into()],
        },
        // The share of time that it takes decides in which pass it is read.
        process_groups: process_groups::Options { gather_smaps: false, ..Default::default() },
        ..Default::default()
    }
}

fn list(root: &Path, below: &str, out: &mut Vec<File>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(root, &path, out)?;
        } else if kind.is_file() {
            out.push(File { bytes: std::fs::read(entry.path())?, path });
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, to)?;
        } else {
            std::fs::write(to, std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn unpack(text: &str, root: &Path) -> io::Result<()> {
    for (path, text) in parts(text) {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// The files of a host that is written down in one text: path and contents.
pub fn parts(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split("\n# ").flat_map(|part| {
        let (head, text) = part.split_once('\n').unwrap_or((part, ""));
        match head.split_once(' ') {
            Some(("file", path)) => vec![(path.to_owned(), text.trim_end_matches(' ').to_owned() + "\n")],
            Some(("dir", path)) => {
                let values = text.lines().filter_map(|line| line.split_once(" = "));
                values.map(|(name, value)| (format!("{path}/{name}"), format!("{value}\n"))).collect()
            }
            _ => Vec::new(),
        }
    })
}
