#!/usr/bin/env python3
"""Validates deploy/kubernetes: objects of Kubernetes against its published schemas, and that the files belong together.

validate.py DIRECTORY HEADROOM
Prints the objects of the Prometheus Operator as JSON lines, for operator.mjs. Exit status: 0 fine, 1 a finding.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "1.33"
failed = []


def finding(where, what):
    failed.append(where)
    print(f"{where}: {what}", file=sys.stderr)


def objects(directory):
    """What the kustomization names, and that nothing else lies there."""
    path = directory / "kustomization.yaml"
    kustomization = yaml.safe_load(path.read_text())
    named = {path} | {directory / name for name in kustomization["resources"]}
    for generator in kustomization.get("configMapGenerator", []):
        named |= {directory / name for name in generator["files"]}
    for file in directory.rglob("*.yaml"):
        if file not in named and not (file.parent != directory and (file.parent / "kustomization.yaml").exists()):
            if "monitoring" not in file.relative_to(directory).parts[:1]:
                finding(file, "is not named by its kustomization")
    for file in sorted(named - {path}):
        if not file.exists():
            finding(path, f"names {file.name}, which is not there")
            continue
        if file.name == "headroom.yaml" and file.parent.name != "rules":
            continue
        for one in yaml.safe_load_all(file.read_text()):
            one["metadata"].setdefault("namespace", kustomization["namespace"])
            yield file, one


def check_together(found):
    """Ports, secrets, volumes and config maps that one object names and another has."""
    kinds = {}
    for _, one in found:
        kinds.setdefault(one["kind"], []).append(one)
    pod = kinds["DaemonSet"][0]["spec"]["template"]
    spec = pod["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    ports = {port["name"] for container in spec["containers"] for port in container["ports"]}
    for container in spec["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] not in volumes:
                finding("daemonset.yaml", f"no volume {mount['name']}")
        for probe in ("readinessProbe", "livenessProbe"):
            if container[probe]["httpGet"]["port"] not in ports:
                finding("daemonset.yaml", f"{probe}: no such port")
    accounts = {account["metadata"]["name"] for account in kinds["ServiceAccount"]}
    if spec["serviceAccountName"] not in accounts:
        finding("daemonset.yaml", "no such service account")
    for service in kinds["Service"]:
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                finding("service.yaml", f"no port {port['targetPort']}")
        if not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items():
            finding("service.yaml", "selects no pod of the DaemonSet")
    monitor = kinds["ServiceMonitor"][0]["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    watched = [service for service in kinds["Service"] if wanted <= service["metadata"]["labels"].items()]
    if len(watched) != 1:
        finding("servicemonitor.yaml", f"selects {len(watched)} services: each node would be scraped as often")
    names = {port["name"] for service in watched for port in service["spec"]["ports"]}
    for endpoint in monitor["endpoints"]:
        if endpoint["port"] not in names:
            finding("servicemonitor.yaml", f"no port {endpoint['port']}")
    receiver = kinds["AlertmanagerConfig"][0]["spec"]["receivers"][0]["webhookConfigs"][0]
    secrets = {v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v}
    if receiver["httpConfig"]["authorization"]["credentials"]["name"] not in secrets:
        finding("alertmanagerconfig.yaml", "its secret is not the one that the optimizer has")
    services = [service["metadata"] for service in kinds["Service"] if service["spec"].get("clusterIP") != "None"]
    if not any(f"//{one['name']}.{one['namespace']}.svc:" in receiver["url"] for one in services):
        finding("alertmanagerconfig.yaml", "its address is not the service's")


def check_rules(directory, headroom):
    """The rules are what the program writes."""
    with tempfile.TemporaryDirectory() as made:
        subprocess.run([headroom, "rules", "write", "--operator", made], check=True, capture_output=True)
        ours = {path.name: path.read_text() for path in (directory / "monitoring/rules").glob("*.yaml")}
        theirs = {path.name: path.read_text() for path in pathlib.Path(made).glob("*.yaml")}
    if ours != theirs:
        finding("monitoring/rules", "differ from what `headroom rules write --operator` makes: make kubernetes")


def generated(headroom):
    """The object that the program makes of the example's services."""
    example = ROOT / "prometheus/services/example.yaml"
    arguments = [headroom, "rules", "generate", "--operator", "--config", example]
    made = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return yaml.safe_load(made)


def main(directory, headroom):
    found = [*objects(directory), *objects(directory / "monitoring")]
    for file, one in found:
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            print(json.dumps(one))
            continue
        try:
            kubernetes_validate.validate(one, VERSION, strict=True)
        except kubernetes_validate.ValidationError as e:
            finding(file, e.message)
    print(json.dumps(generated(headroom)))
    check_together(found)
    check_rules(directory, headroom)
    config = directory / "headroom.yaml"
    done = subprocess.run([headroom, "check", "config", config], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        finding(config, done.stdout + done.stderr)
    print(f"{len(found)} objects", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
