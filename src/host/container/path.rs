//! What the path of a control group tells about a container: its id, and the id of its pod.
//!
//! Runtimes name the group after the 64 hexadecimal digits of the container's id: `docker-ID.scope`,
//! `cri-containerd-ID.scope`, `crio-ID.scope` and `libpod-ID.scope` where systemd makes the groups; `/docker/ID`,
//! `/kubepods/burstable/podUID/ID` and `/libpod_parent/libpod-ID` where they make them themselves; and
//! `kubepods-podUID.slice:cri-containerd:ID` where a runtime was told the one way and does the other.

const ID_DIGITS: usize = 64;
/// A pod's UID as the API server makes it, and without dashes that of a pod from a file of the node.
const UID_LENGTHS: [usize; 2] = [36, 32];

/// The id of the container whose own group this is. The groups that a container makes inside of its own are none, nor
/// are those of the monitors (conmon) that CRI-O and Podman put beside it.
pub fn container_id(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let (before, id) = last.split_at_checked(last.len().checked_sub(ID_DIGITS)?)?;
    let is_id = id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let separate = before.is_empty() || before.ends_with(['-', ':']);
    (is_id && separate && !before.contains("conmon")).then_some(id)
}

/// The id of the container in whose group this lies: its own, or one that was made inside of it.
pub fn container_around(path: &str) -> Option<&str> {
    path.split('/').find_map(container_id)
}

/// The UID of the Kubernetes pod whose group this is, or in whose group it lies.
pub fn pod_uid(path: &str) -> Option<String> {
    path.split('/').find_map(|part| {
        // `kubepods-podUID.slice:cri-containerd:ID`
        let part = part.split(':').next()?;
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let uid = part
            .strip_prefix("pod")
            .or_else(|| part.contains("kubepods").then(|| part.rsplit_once("-pod"))?.map(|(_, uid)| uid))?;
        let is_uid = UID_LENGTHS.contains(&uid.len())
            && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_');
        // systemd reads a dash as a level of slices, so the kubelet writes another sign.
        is_uid.then(|| uid.replace('_', "-"))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_lies_inside_of_a_container_belongs_to_it() {
        let id = "0123456789abcdef".repeat(4);
        let around = |path: String| container_around(&path).map(str::to_owned);
        assert_eq!(around(format!("/docker/{id}")), Some(id.clone()));
        assert_eq!(around(format!("/system.slice/docker-{id}.scope/init.scope")), Some(id));
        assert_eq!(around("/system.slice/cron.service".into()), None);
    }

    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "6b7ad5ab-1111-2222-3333-0123456789ab";

    #[test]
    fn the_runtimes_names_for_a_containers_group_are_known() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/docker/ID",
            "/docker/buildkit/ID",
            "/system.slice/nerdctl-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podU_.slice/crio-ID.scope",
            "/kubepods/besteffort/podUID/ID",
            "/system.slice/containerd.service/kubepods-burstable-podU_.slice:cri-containerd:ID",
            "/machine.slice/libpod-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "/libpod_parent/libpod-ID",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(container_id(&path), Some(ID), "{path}");
        }
    }

    #[test]
    fn monitors_inner_groups_and_services_are_no_containers() {
        for path in [
            "/",
            "",
            "/system.slice/ssh.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/crio-conmon-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/system.slice/docker-ID.scope/init.scope",
            "/system.slice/var-lib-docker-containers-ID-mounts-shm.mount",
            "/docker/xID",
            "/docker/IDé",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(container_id(&path), None, "{path}");
        }
        assert_eq!(container_id(&format!("/docker/{}", &ID[1..])), None);
        assert_eq!(container_id(&format!("/docker/{}", ID.to_uppercase())), None);
    }

    #[test]
    fn a_pods_uid_is_found_in_the_groups_of_the_pod_and_of_its_containers() {
        for path in [
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice/cri-containerd-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_.slice",
            "/kubepods/besteffort/podU-/ID",
            "/system.slice/containerd.service/kubepods-besteffort-podU_.slice:cri-containerd:ID",
        ] {
            let path = path.replace("ID", ID).replace("U_", &UID.replace('-', "_")).replace("U-", UID);
            assert_eq!(pod_uid(&path).as_deref(), Some(UID), "{path}");
        }
        let of_a_file = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice";
        assert_eq!(pod_uid(of_a_file).as_deref(), Some("0123456789abcdef0123456789abcdef"));
        for path in
            ["/", "/kubepods.slice/kubepods-burstable.slice", "/system.slice/podman.service", "/pods/podx"]
        {
            assert_eq!(pod_uid(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/|pod|kubepods-|\\.slice|[0-9a-f]{30,40}|:|é|.){0,12}") {
            _ = container_id(&path);
            _ = pod_uid(&path);
        }
    }
}
