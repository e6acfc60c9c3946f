//! The collector of containers and services: what each control group uses, under cAdvisor's names (`container_*`).

mod families;
mod group;

use super::{CollectError, Collector, Entry};
use crate::host::container::names::{Pods, Runtimes};
use crate::host::container::{Interface, Processes, Reader, Usage, container_id, pod_uid};
use crate::host::{Host, HostError};
use crate::metric::{Desc, Sink, single};
use group::{Group, Labels};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// This collector's line in the list. Off by default: a machine has some forty series for each group, several times what
/// all other collectors have together; and beside cAdvisor or a kubelet, which have the same names, a `sum()` over all
/// jobs would count everything twice.
pub const ENTRY: Entry = Entry {
    name: "containers",
    on: false,
    make: |_, options| {
        let options = options.containers.clone();
        Ok(Box::new(Containers {
            runtimes: Runtimes::new(options.name_sockets.clone()),
            options,
            ..Containers::default()
        }))
    },
};

const CUT: Desc<'static> = Desc::gauge(
    "headroom_containers_cut",
    "Control groups without container_* metrics because there would be more series than series_max.",
    &[],
);

/// More groups than this are not even looked at.
const GROUPS_MAX: usize = 20_000;
/// Names are looked up again when a container is met that has none, but not more often than this.
const NAMES_AGAIN: Duration = Duration::from_secs(10);

const UNNAMED: &str = "names of containers are not known";

/// Which groups are shown, and who is asked for names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How far below the root groups are looked for; the root's depth is 0.
    pub depth_max: usize,
    /// How many series there may be. The root comes first, then containers and pods, then all others, each from the
    /// root downwards; a group whose series do not fit is left out as a whole and counted in
    /// `headroom_containers_cut`.
    pub series_max: usize,
    /// Whether groups that are neither a container nor a pod are left out; the root always stays.
    pub only_containers: bool,
    /// Sockets of Docker or Podman to ask for names and images. None by default: whoever can connect to Docker's is as good
    /// as root.
    pub name_sockets: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth_max: 8, series_max: 20_000, only_containers: false, name_sockets: Vec::new() }
    }
}

struct Containers {
    options: Options,
    reader: Option<Reader>,
    processes: Option<Processes>,
    pods: Pods,
    runtimes: Runtimes,
    /// When names were last looked up.
    looked_up: Option<Instant>,
    unnamed: Trouble,
    unread: Trouble,
}

impl Default for Containers {
    fn default() -> Self {
        let runtimes = Runtimes::new(Vec::new());
        let (options, pods) = (Options::default(), Pods::default());
        let (unnamed, unread) = (Trouble::default(), Trouble::default());
        Self { options, reader: None, processes: None, pods, runtimes, looked_up: None, unnamed, unread }
    }
}

impl Collector for Containers {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        if self.reader.is_none() {
            self.reader = Reader::open(host)?;
            self.processes = Some(Processes::new(host));
        }
        if self.reader.is_none() {
            return Err(CollectError::Absent("a control group hierarchy".into()));
        }
        self.take_names();
        let (mut groups, cut) = self.read()?;
        let mut missing = false;
        for group in &mut groups {
            missing |= !self.name(group);
        }
        if missing && self.look_up(host) {
            for group in &mut groups {
                self.name(group);
            }
        }
        // Only commands look at the clock and hand the time on; the moment of the pass is what this family is about.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        families::write(&groups, &Labels::of(&groups), now, out);
        single(out, &CUT, cut as u64);
        Ok(())
    }
}

impl Containers {
    /// The groups that are shown, in the order of their paths, and how many are not.
    fn read(&mut self) -> Result<(Vec<Group>, usize), CollectError> {
        let (Some(reader), Some(processes)) = (&mut self.reader, &mut self.processes) else {
            return Ok((Vec::new(), 0));
        };
        let (mut names, mut cut) = reader.groups(self.options.depth_max, GROUPS_MAX)?;
        let only_containers = self.options.only_containers;
        // systemd makes a group for each mount, in which nothing ever runs; cAdvisor leaves them out too.
        let is_mount = |name: &str| name.strip_suffix(".mount").is_some();
        names.retain(|name| !is_mount(name) && (!only_containers || rank(name) < OTHER));
        names.sort_by_cached_key(|name| rank(name));
        let (mut groups, mut series) = (Vec::with_capacity(names.len()), 0);
        let mut failed = None;
        let mut host_network = processes.begin().unwrap_or_else(|e| {
            failed = Some(e);
            None
        });
        for id in names {
            if series >= self.options.series_max {
                cut += 1;
                continue;
            }
            let usage = match reader.read(&id) {
                Ok(Some(mut usage)) => {
                    let looked = look_inside((reader, processes), &id, &mut usage, &mut host_network);
                    // What its processes do not tell is absent; what its files told is not.
                    failed = looked.err().or(failed);
                    usage
                }
                // A group that was removed since the list was made is not there.
                Ok(None) => continue,
                // One whose files make no sense costs its own samples.
                Err(e) => {
                    failed = Some(e);
                    continue;
                }
            };
            series += families::count(&usage);
            if series > self.options.series_max {
                // What comes after is less wanted, even where it would fit.
                series = self.options.series_max;
                cut += 1;
                continue;
            }
            let device_names = usage.devices.iter().map(|d| reader.device_name(d.numbers)).collect();
            groups.push(Group { id, usage, device_names, ..Group::default() });
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        match failed {
            Some(e) if groups.is_empty() => return Err(e.into()),
            failed => self.unread.note(failed.map(|e| e.to_string()), "a group is not shown"),
        }
        Ok((groups, cut))
    }

    /// Gives a group its names; false where they should be known and are not.
    fn name(&self, group: &mut Group) -> bool {
        let (mut known, uid) = (true, pod_uid(&group.id));
        if let Some(id) = container_id(&group.id) {
            let called = self.runtimes.called(id).cloned();
            known = called.is_some() || self.options.name_sockets.is_empty() || uid.is_some();
            let called = called.unwrap_or_default();
            group.name = if called.name.is_empty() { id.to_owned() } else { called.name };
            group.image = called.image;
        }
        let Some(uid) = uid else { return known };
        let placed = container_id(&group.id).and_then(|id| self.pods.container(id));
        let Some(placed) = placed.or_else(|| self.pods.pod(&uid)).cloned() else {
            group.pod = uid;
            return false;
        };
        (group.namespace, group.pod, group.container) = (placed.namespace, placed.pod, placed.container);
        // A pod's sandbox is a container of the runtime that has no name in the pod.
        known && !(group.container.is_empty() && container_id(&group.id).is_some())
    }

    /// Looks names up again, unless that was done a moment ago; whether there may be new ones at once.
    fn look_up(&mut self, host: &Host) -> bool {
        let now = Instant::now();
        if self.looked_up.is_some_and(|before| now.duration_since(before) < NAMES_AGAIN) {
            return false;
        }
        self.looked_up = Some(now);
        self.runtimes.ask();
        match Pods::load(host) {
            Ok(pods) => self.pods = pods,
            // Names are an addition: without them the groups are shown by their paths.
            Err(e) => self.unnamed.note(Some(e.to_string()), UNNAMED),
        }
        true
    }

    fn take_names(&mut self) {
        if let Some(failed) = self.runtimes.take_answers() {
            self.unnamed.note(failed.first().map(ToString::to_string), UNNAMED);
        }
    }
}

/// Adds what the processes of a container or pod tell: files that they hold open, and their network if no group before has
/// it. A pod comes before its containers, which share its network; a `sum()` must not count that twice.
fn look_inside(
    (reader, processes): (&mut Reader, &mut Processes),
    id: &str,
    usage: &mut Usage,
    host_network: &mut Option<Vec<Interface>>,
) -> Result<(), HostError> {
    match rank(id) {
        0 => usage.interfaces = host_network.take().unwrap_or_default(),
        OTHER => {}
        _ => {
            // Processes of another name space have no number here.
            if container_id(id).is_some() && usage.processes == Some(usage.pids.len() as u64) {
                usage.open_files = processes.open_files(&usage.pids);
            }
            if let Some(pid) = reader.a_process(id, usage)? {
                usage.interfaces = processes.network(pid)?.unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// The last failure of one kind, so that the log has a line for each change and not for each pass.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn note(&mut self, now: Option<String>, what: &str) {
        if let Some(error) = now.as_ref().filter(|_| now != self.0) {
            tracing::warn!(collector = ENTRY.name, %error, "{what}");
        }
        self.0 = now;
    }
}

/// The rank of groups that are neither the root nor a container nor a pod.
const OTHER: u8 = 2;

/// Which groups are wanted most.
fn rank(path: &str) -> u8 {
    match path {
        "/" => 0,
        _ if container_id(path).is_some() => 1,
        // The pod's own group, and not one that a container made for itself.
        _ if pod_uid(path.rsplit('/').next().unwrap_or_default()).is_some() => 1,
        _ => OTHER,
    }
}
