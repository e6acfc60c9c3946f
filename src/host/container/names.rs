//! The names of containers and pods: from the kubelet's log directory, and from the sockets of Docker and Podman.

use super::container_id;
use super::socket::{self, SocketError};
use crate::host::counted::{self, Cost};
use crate::host::{Host, HostError, children};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// More names than this are not kept of one source.
pub(super) const NAMES_MAX: usize = 10_000;

/// What a runtime calls a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Its name.
    pub name: String,
    /// The image that it was made of.
    pub image: String,
}

/// Where a pod, or a container of it, belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name in the pod; empty for the pod itself.
    pub container: String,
}

/// Pods by UID and their containers by id, as the kubelet names their logs. Nothing but names of directories and links
/// is read, and every user may read those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    by_uid: HashMap<String, Placed>,
    by_id: HashMap<String, Placed>,
}

impl Pods {
    /// Reads the directories: /var/log/pods has `NAMESPACE_POD_UID`, /var/log/containers has
    /// `POD_NAMESPACE_CONTAINER-ID.log`. Empty on a machine without a kubelet.
    pub fn load(host: &Host) -> Result<Self, HostError> {
        let list = |path: &str| children(&host.root_path(path)).map(Option::unwrap_or_default);
        let (pods, containers) = (list("/var/log/pods")?, list("/var/log/containers")?);
        Ok(Self {
            by_uid: pods.iter().filter_map(|name| pod(name)).take(NAMES_MAX).collect(),
            by_id: containers.iter().filter_map(|name| container(name)).take(NAMES_MAX).collect(),
        })
    }

    /// The pod of a UID.
    pub fn pod(&self, uid: &str) -> Option<&Placed> {
        self.by_uid.get(uid)
    }

    /// The container of an id.
    pub fn container(&self, id: &str) -> Option<&Placed> {
        self.by_id.get(id)
    }
}

/// `NAMESPACE_POD_UID`; none of the three can hold an underscore.
pub(crate) fn pod(directory: &str) -> Option<(String, Placed)> {
    let (namespace, rest) = directory.split_once('_')?;
    let (pod, uid) = rest.split_once('_')?;
    let placed = Placed { namespace: namespace.into(), pod: pod.into(), container: String::new() };
    Some((uid.to_owned(), placed))
}

/// `POD_NAMESPACE_CONTAINER-ID.log`.
pub(crate) fn container(link: &str) -> Option<(String, Placed)> {
    let (names, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
    let (pod, rest) = names.split_once('_')?;
    let (namespace, container) = rest.split_once('_')?;
    let placed = Placed { namespace: namespace.into(), pod: pod.into(), container: container.into() };
    container_id(id).map(|id| (id.to_owned(), placed))
}

/// The names that the sockets of runtimes tell, asked for on a thread of its own: a runtime that hangs must not hold up a
/// pass. There is never more than one such thread.
#[derive(Debug)]
pub struct Runtimes {
    sockets: Vec<PathBuf>,
    called: HashMap<String, Called>,
    asked: Option<Receiver<(Vec<Answer>, Cost)>>,
}

/// What one socket answered.
pub type Answer = Result<Vec<(String, Called)>, SocketError>;

impl Runtimes {
    /// Nothing is asked yet.
    pub fn new(sockets: Vec<PathBuf>) -> Self {
        Self { sockets, called: HashMap::new(), asked: None }
    }

    /// Begins to ask all sockets, unless that is under way.
    pub fn ask(&mut self) {
        if self.sockets.is_empty() || self.asked.is_some() {
            return;
        }
        let (to, from) = sync_channel(1);
        let sockets = self.sockets.clone();
        let ask = move || {
            let answers = sockets.iter().map(|path| socket::names(path)).collect();
            let cost = Cost { helpers: counted::cpu_time(), ..counted::spent() };
            // Nobody waits any more after a reload.
            let _gone = to.send((answers, cost));
        };
        // Without a thread there are no names in this pass; the next one tries again.
        if std::thread::Builder::new().name("names".into()).spawn(ask).is_ok() {
            self.asked = Some(from);
        }
    }

    /// Takes in what was answered meanwhile; what failed is returned, and the names known before stay.
    pub fn take_answers(&mut self) -> Option<Vec<SocketError>> {
        let answers = match self.asked.as_ref()?.try_recv() {
            Ok((answers, cost)) => {
                counted::take_over(cost);
                answers
            }
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Vec::new(),
        };
        self.asked = None;
        let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let bad: Vec<SocketError> = bad.into_iter().filter_map(Result::err).collect();
        if bad.is_empty() {
            self.called.clear();
        }
        self.called.extend(good.into_iter().flatten().flatten());
        Some(bad)
    }

    /// What the container of an id is called.
    pub fn called(&self, id: &str) -> Option<&Called> {
        self.called.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_kubelets_logs_name_pods_and_containers() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("var/log");
        for pod in ["shop_web-7d9_6b7ad5ab-1111", "kube-system_etcd-node1_0123", "lost+found"] {
            std::fs::create_dir_all(log.join("pods").join(pod)).unwrap();
        }
        std::fs::create_dir_all(log.join("containers")).unwrap();
        for link in [format!("web-7d9_shop_nginx-{ID}.log"), "other.log".into(), "a_b_c-short.log".into()] {
            std::fs::write(log.join("containers").join(link), "").unwrap();
        }
        let host = Host { rootfs: root.path().into(), ..Host::default() };
        let pods = Pods::load(&host).unwrap();
        let web = |container: &str| Placed {
            namespace: "shop".into(),
            pod: "web-7d9".into(),
            container: container.into(),
        };
        assert_eq!(pods.pod("6b7ad5ab-1111"), Some(&web("")));
        assert_eq!(pods.pod("0123").map(|p| p.pod.as_str()), Some("etcd-node1"));
        assert_eq!(pods.container(ID), Some(&web("nginx")));
        assert_eq!((pods.by_uid.len(), pods.by_id.len()), (2, 1));
    }

    #[test]
    fn a_machine_without_a_kubelet_has_no_pods() {
        let root = tempfile::tempdir().unwrap();
        let host = Host { rootfs: root.path().into(), ..Host::default() };
        assert_eq!(Pods::load(&host).unwrap(), Pods::default());
    }
}
