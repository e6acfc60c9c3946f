//! The collector of mounted file systems: size, free space, files, and mounts that do not answer (`node_filesystem_*`).

use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::kept::ended;
use crate::host::mount::{self, Mount};
use crate::host::space::{self, Answer, Space, Spaces};
use crate::host::{Host, HostError, Kept};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "filesystem",
    on: true,
    make: |host, options| {
        let (options, default) = (&options.filesystem, Options::default());
        let choice = |key, include: &str, exclude: &str, default: &str| {
            Choice::over(&format!("filesystem.{key}"), include, exclude, default)
        };
        Ok(Box::new(Filesystem {
            mount_points: choice(
                "mount_points",
                &options.mount_points_include,
                &options.mount_points_exclude,
                &default.mount_points_exclude,
            )?,
            fs_types: choice(
                "fs_types",
                &options.fs_types_include,
                &options.fs_types_exclude,
                &default.fs_types_exclude,
            )?,
            // The mounts of the first process are the host's; where it is hidden, our own have to do.
            files: ["1/mountinfo", "self/mountinfo"].map(|name| host.proc_file(name)),
            spaces: Spaces::new(options.mount_timeout),
            text: Vec::new(),
            mounts: Vec::new(),
            far: Arc::new([]),
            far_answers: Vec::new(),
            answers: Vec::new(),
        }))
    },
};

/// Which mounts are shown, and how long one may take to answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Mount points that alone are shown, as a regular expression; all if empty.
    pub mount_points_include: String,
    /// Mount points that are left out, as a regular expression; none if empty. Its default gives way to
    /// `mount_points_include`.
    pub mount_points_exclude: String,
    /// Kinds of file systems that alone are shown, as a regular expression; all if empty.
    pub fs_types_include: String,
    /// Kinds of file systems that are left out, as a regular expression; none if empty. Its default gives way to
    /// `fs_types_include`.
    pub fs_types_exclude: String,
    /// How long a pass waits for its mounts; one that is silent for longer is left alone until it answers.
    #[serde(with = "humantime_serde")]
    pub mount_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mount_points_include: String::new(),
            fs_types_include: String::new(),
            mount_points_exclude: "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|\
                                   var/lib/containers/storage/.+)($|/)"
                .into(),
            fs_types_exclude: "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|\
                               hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|\
                               selinuxfs|squashfs|erofs|sysfs|tracefs)$"
                .into(),
            mount_timeout: Duration::from_secs(5),
        }
    }
}

const LABELS: &[&str] = &["device", "device_error", "fstype", "mountpoint"];
const DEVICE_ERROR: Desc<'static> = Desc::gauge(
    "node_filesystem_device_error",
    "Whether an error occurred while getting statistics for the given device.",
    LABELS,
);
const READ_ONLY: Desc<'static> =
    Desc::gauge("node_filesystem_readonly", "Filesystem read-only status.", LABELS);
const MOUNT_INFO: Desc<'static> = Desc::gauge(
    "node_filesystem_mount_info",
    "Filesystem mount information.",
    &["device", "major", "minor", "mountpoint"],
);
/// Takes one number out of an answer.
type Take = fn(&Space) -> u64;

/// The families of a file system that answered.
const SPACE: [(Desc<'static>, Take); 5] = [
    (Desc::gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", LABELS), |s| s.size_bytes),
    (Desc::gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.", LABELS), |s| s.free_bytes),
    (
        Desc::gauge(
            "node_filesystem_avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            LABELS,
        ),
        |s| s.available_bytes,
    ),
    (Desc::gauge("node_filesystem_files", "Filesystem total file nodes.", LABELS), |s| s.files),
    (Desc::gauge("node_filesystem_files_free", "Filesystem total free file nodes.", LABELS), |s| {
        s.files_free
    }),
];

struct Filesystem {
    mount_points: Choice,
    fs_types: Choice,
    files: [Kept; 2],
    spaces: Spaces,
    /// The text that the mounts were made of: as long as it is the same, they are.
    text: Vec<u8>,
    mounts: Vec<Shown>,
    /// The paths of the mounts that may not answer.
    far: Arc<[PathBuf]>,
    far_answers: Vec<Answer>,
    answers: Vec<Answer>,
}

struct Shown {
    mount: Mount,
    /// Where it is asked if it answers at once; otherwise it stands among those that are far.
    near: Option<PathBuf>,
    major: String,
    minor: String,
}

impl Collector for Filesystem {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        self.read_mounts(host)?;
        self.ask()
            .map_err(|e| CollectError::Failed(format!("cannot start the thread that asks mounts: {e}")))?;
        write(&self.mounts, &self.answers, out);
        Ok(())
    }
}

impl Filesystem {
    fn ask(&mut self) -> io::Result<()> {
        self.spaces.ask(&self.far, &mut self.far_answers)?;
        let mut far = self.far_answers.drain(..);
        self.answers.clear();
        self.answers.extend(self.mounts.iter().map(|shown| match &shown.near {
            Some(path) => space::answer(path),
            // There is one for each.
            None => far.next().unwrap_or(Answer::Stuck),
        }));
        Ok(())
    }

    fn read_mounts(&mut self, host: &Host) -> Result<(), CollectError> {
        let [first, own] = &mut self.files;
        let is_hidden = match first.read_bytes() {
            Ok(bytes) => bytes.is_none(),
            Err(HostError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => true,
            Err(e) => return Err(e.into()),
        };
        if is_hidden && own.read_bytes()?.is_none() {
            return Err(CollectError::Absent("mountinfo".into()));
        }
        let file = if is_hidden { own } else { first };
        let bytes = file.last();
        if bytes == self.text {
            return Ok(());
        }
        // A name of a mount may be of any bytes.
        let text = String::from_utf8_lossy(bytes);
        let mounts = ended(&text).and_then(mount::mounts).map_err(|e| HostError::parse(file.path(), e))?;
        self.text = bytes.to_vec();
        self.mounts.clear();
        let kinds: Vec<(String, String)> =
            mounts.iter().map(|mount| (mount.mount_point.clone(), mount.fs_type.clone())).collect();
        for mut mount in mounts {
            mount.mount_point = below(&host.rootfs.to_string_lossy(), mount.mount_point);
            if !self.mount_points.shows(&mount.mount_point) || !self.fs_types.shows(&mount.fs_type) {
                continue;
            }
            let near = host.rootfs == Path::new("/")
                && space::answers_at_once(
                    &mount.mount_point,
                    &mount.fs_type,
                    kinds.iter().map(|(path, kind)| (path.as_str(), kind.as_str())),
                );
            // Mounted twice on the same place: what is seen there is the later one.
            self.mounts.retain(|shown| !same_labels(&shown.mount, &mount));
            let (major, minor) = (mount.major.to_string(), mount.minor.to_string());
            let near = near.then(|| host.root_path(&mount.mount_point));
            self.mounts.push(Shown { mount, near, major, minor });
        }
        let far = self.mounts.iter().filter(|shown| shown.near.is_none());
        self.far = far.map(|shown| host.root_path(&shown.mount.mount_point)).collect();
        Ok(())
    }
}

/// A mount point as it is seen below the root.
fn below(root: &str, mount_point: String) -> String {
    let root = root.trim_end_matches('/');
    match mount_point.strip_prefix(root) {
        Some("") => "/".to_owned(),
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        _ => mount_point,
    }
}

fn same_labels(a: &Mount, b: &Mount) -> bool {
    (&a.device, &a.mount_point, &a.fs_type) == (&b.device, &b.mount_point, &b.fs_type)
}

fn write(mounts: &[Shown], answers: &[Answer], out: &mut dyn Sink) {
    if mounts.is_empty() {
        return;
    }
    let all = || mounts.iter().zip(answers);
    let spaces = || {
        all().filter_map(|(shown, answer)| match answer {
            Answer::Space(space) => Some((shown, space)),
            Answer::Refused(_) | Answer::Stuck => None,
        })
    };
    for (desc, value) in [
        (&DEVICE_ERROR, (|_, error| !error) as fn(&Mount, bool) -> bool),
        (&READ_ONLY, |mount, _| mount.read_only),
    ] {
        out.family(desc);
        for (Shown { mount, .. }, answer) in all() {
            let error = error(answer);
            let value = value(mount, error.is_empty());
            out.sample(
                &[&mount.device, error, &mount.fs_type, &mount.mount_point],
                Value::U64(u64::from(value)),
            );
        }
    }
    if spaces().next().is_none() {
        return;
    }
    for (desc, value) in &SPACE {
        out.family(desc);
        for (Shown { mount, .. }, space) in spaces() {
            out.sample(&[&mount.device, "", &mount.fs_type, &mount.mount_point], Value::U64(value(space)));
        }
    }
    out.family(&MOUNT_INFO);
    for (Shown { mount, major, minor, .. }, _) in spaces() {
        out.sample(&[&mount.device, major, minor, &mount.mount_point], Value::U64(1));
    }
}

/// Why there is no answer, in node_exporter's words; empty if there is one.
fn error(answer: &Answer) -> &str {
    match answer {
        Answer::Space(_) => "",
        Answer::Refused(why) => why,
        Answer::Stuck => "mountpoint timeout",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    #[test]
    fn a_mount_that_does_not_answer_has_an_error_and_no_numbers() {
        let shown = |line: &str| {
            let mount = mount::mounts(line).unwrap().remove(0);
            Shown { near: None, major: mount.major.to_string(), minor: mount.minor.to_string(), mount }
        };
        let mounts =
            [shown("1 0 8:1 / / rw - ext4 /dev/sda1 rw"), shown("2 1 0:9 / /far rw - nfs4 far:/ ro")];
        let space = Space { size_bytes: 9, ..Space::default() };
        let mut out = TextEncoder::default();
        write(&mounts, &[Answer::Space(space), Answer::Stuck], &mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        let far: Vec<&str> = page.lines().filter(|line| line.contains("/far")).collect();
        let labels =
            "{device=\"far:/\",device_error=\"mountpoint timeout\",fstype=\"nfs4\",mountpoint=\"/far\"} 1";
        assert_eq!(far, ["device_error", "readonly"].map(|name| format!("node_filesystem_{name}{labels}")));
        assert!(page.contains("node_filesystem_size_bytes{device=\"/dev/sda1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 9\n"));
    }

    #[test]
    fn mount_points_are_those_below_the_root() {
        for (root, path, want) in [
            ("/", "/data", "/data"),
            ("/", "/", "/"),
            ("/host", "/host", "/"),
            ("/host", "/host/data", "/data"),
            ("/host/", "/host/data", "/data"),
            ("/host", "/hostel", "/hostel"),
            ("/host", "/data", "/data"),
        ] {
            assert_eq!(below(root, path.to_owned()), want, "{root} {path}");
        }
    }
}
