//! Who sends: host, operating system, container, pod and service, as OpenTelemetry's resource names them.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/resource/>, <https://opentelemetry.io/docs/specs/otel/resource/sdk/>.

use crate::host::Host;
use crate::host::container::container_around;
use crate::host::read_once;
use crate::host::release::os_release;
use crate::otlp::{Variable, decoded};
use std::collections::BTreeMap;
use std::path::Path;

/// Names of attributes and their values.
pub(super) type Attributes = BTreeMap<String, String>;

/// What the downward API is commonly told to set, and the attribute that it is.
const KUBERNETES: [(&str, &str); 10] = [
    ("K8S_POD_NAME", "k8s.pod.name"),
    ("POD_NAME", "k8s.pod.name"),
    ("K8S_POD_UID", "k8s.pod.uid"),
    ("POD_UID", "k8s.pod.uid"),
    ("K8S_NAMESPACE_NAME", "k8s.namespace.name"),
    ("POD_NAMESPACE", "k8s.namespace.name"),
    ("K8S_NODE_NAME", "k8s.node.name"),
    ("NODE_NAME", "k8s.node.name"),
    ("K8S_CLUSTER_NAME", "k8s.cluster.name"),
    ("K8S_CONTAINER_NAME", "k8s.container.name"),
];

/// Who this is: what is found, over that what the environment says, over that what the configuration says. `port` tells
/// several exporters of one machine apart.
pub(super) fn detect(host: &Host, variable: Variable<'_>, configured: &Attributes, port: u16) -> Attributes {
    let mut out = found(host);
    for (name, key) in KUBERNETES {
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            out.entry(key.to_owned()).or_insert(value);
        }
    }
    out.insert("service.name".into(), "headroom".into());
    out.insert("service.version".into(), env!("CARGO_PKG_VERSION").into());
    if let Some(name) = out.get("host.name") {
        let instance = format!("{name}:{port}");
        out.insert("service.instance.id".into(), instance);
    }
    let said = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    // As the specification has it: one bad pair, and nothing of the variable counts.
    let pairs: Option<Vec<_>> =
        said.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| pair.split_once('=')).collect();
    for (key, value) in pairs.unwrap_or_default() {
        out.insert(key.trim().to_owned(), decoded(value.trim()));
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        out.insert("service.name".into(), name);
    }
    out.extend(configured.clone());
    out
}

fn found(host: &Host) -> Attributes {
    let read = |path: &Path| read_once(path).ok().flatten().map(|text| text.trim().to_owned());
    let read = |path: &Path| read(path).filter(|text| !text.is_empty());
    let mut out = Attributes::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("host.name", read(&host.procfs.join("sys/kernel/hostname")));
    put("host.id", read(&host.root_path("/etc/machine-id")));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    put("host.arch", Some(architecture.to_owned()));
    put(
        "os.type",
        Some(if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS }.to_owned()),
    );
    let release =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| read(&host.root_path(path)));
    if let Some(Ok(release)) = release.as_deref().map(os_release) {
        let of = |wanted| release.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.clone());
        put("os.description", of("PRETTY_NAME"));
        put("os.name", of("NAME"));
        put("os.version", of("VERSION_ID"));
    }
    let groups = read(&host.procfs.join("self/cgroup")).unwrap_or_default();
    put("container.id", groups.lines().find_map(container_around).map(str::to_owned));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_below_the_environment_and_that_below_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let id = "0123456789abcdef".repeat(4);
        for (path, text) in [
            ("proc/sys/kernel/hostname", "web1\n"),
            ("proc/self/cgroup", &format!("0::/system.slice/docker-{id}.scope\n")),
            ("etc/machine-id", "abc\n"),
            ("etc/os-release", "NAME=Debian\nPRETTY_NAME=\"Debian 12\"\nVERSION_ID=12\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host { procfs: root.join("proc"), rootfs: root.to_owned(), ..Host::default() };
        let said = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let all = detect(&host, &said(&[("POD_NAME", "p")]), &Attributes::new(), 9177);
        for (key, value) in [
            ("host.name", "web1"),
            ("host.id", "abc"),
            ("os.type", "linux"),
            ("os.description", "Debian 12"),
            ("os.version", "12"),
            ("container.id", id.as_str()),
            ("k8s.pod.name", "p"),
            ("service.name", "headroom"),
            ("service.instance.id", "web1:9177"),
        ] {
            assert_eq!(all.get(key).map(String::as_str), Some(value), "{key}: {all:?}");
        }
        let said_otherwise = said(&[
            ("OTEL_RESOURCE_ATTRIBUTES", "host.name=other, deployment.environment=a%2Cb%,service.name=x"),
            ("OTEL_SERVICE_NAME", "named"),
        ]);
        let configured = Attributes::from([("host.id".to_owned(), "mine".to_owned())]);
        let all = detect(&host, &said_otherwise, &configured, 1);
        for (key, value) in [
            ("host.name", "other"),
            ("deployment.environment", "a,b%"),
            ("service.name", "named"),
            ("host.id", "mine"),
        ] {
            assert_eq!(all.get(key).map(String::as_str), Some(value), "{key}: {all:?}");
        }
        let bad = said(&[("OTEL_RESOURCE_ATTRIBUTES", "host.name=other,nothing")]);
        assert_eq!(detect(&host, &bad, &Attributes::new(), 1)["host.name"], "web1");
    }
}
