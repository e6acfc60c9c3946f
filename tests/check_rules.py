#!/usr/bin/env python3
"""Checks what promtool and amtool do not: that each alert is complete, tested and has a runbook, and what Alertmanager
mutes. Needs PyYAML, and for the muting Alertmanager itself.

tests/check_rules.py alerts      labels, annotations, names; runbooks for alerts and alerts for runbooks
tests/check_rules.py tests       each alert has a firing, a quiet and a recovering case; which files are embedded
tests/check_rules.py inhibition  starts an Alertmanager on a free port, and sees what a critical alert mutes
tests/check_rules.py grafana     the provisioning's data source and path

Exit status: 0 fine, 1 a finding, 2 the check could not be done.
"""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNBOOKS = ROOT / "docs/runbooks"
SEVERITIES = {"none", "info", "warning", "critical"}
# It fires always, so it has no quiet case.
ALWAYS = {"Watchdog"}
# All others have `keep_firing_for`, so that what swings about its threshold is one alert.
ENDS_AT_ONCE = {
    "an action may hang on it: what comes back after relief must be news, and lead to a run of its own": {
        "CgroupMemoryLimitSoon",
        "MachineMemoryAvailableCritical",
        "MachineMemoryAvailableLow",
        "MachineMemoryExhaustionSoon",
        "MachineMemoryPressureCritical",
        "MachineMemoryPressureHigh",
        "ProcessGroupLeakSuspected",
        "ProcessGroupMemoryOverBudget",
        "ProcessGroupMissing",
        "ProcessGroupRestarting",
        "SwapThrashing",
    },
    "it looks at hours or more, or at what happened in a window, which keeps it as well": {
        "FilesystemFullWithinDays",
        "FilesystemFullWithinMonth",
        "HeadroomActionHarmful",
        "HeadroomLadderExhausted",
        "HeadroomMonitorIncomplete",
        "HeadroomWebhookRefused",
        "MachineMemoryFullWithinDays",
        "MachineMemoryFullWithinMonth",
        "NetworkLinkFlapping",
    },
    "it is a state, and no measurement near a line": {
        "BenchmarkRegressed",
        "ClockNotSynchronised",
        "ClockSkewed",
        "FilesystemReadOnly",
        "HeadroomBreakerOpen",
        "HeadroomConfigReloadFailed",
        "HeadroomExporterDown",
        "HeadroomJournalNotWritable",
        "HeadroomOptimizerDown",
        "HeadroomSeriesCut",
        "NetworkLinkDown",
        "Watchdog",
    },
}
# What each runbook has.
PARTS = ("## Meaning", "## Impact", "## Diagnosis\n```promql", "## What Headroom does", "## What you do")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def rules(kind):
    # The last is what `headroom rules generate` makes of an example; a test of the code holds it against that.
    generated = ROOT / "prometheus/services/services.rules.yml"
    for path in [*sorted((ROOT / "prometheus/rules").glob("*.yml")), generated]:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if kind in rule:
                    yield path, rule


def seconds(text):
    return sum(float(n) * UNITS[u] for n, u in re.findall(r"([\d.]+)(ms|[smhd])", str(text)))


def check_alerts():
    names = []
    ends_at_once = set().union(*ENDS_AT_ONCE.values())
    for path, rule in rules("alert"):
        name = rule["alert"]
        names.append(name)
        labels, annotations = rule.get("labels", {}), rule.get("annotations", {})
        if "for" not in rule:
            yield f"{name}: no `for`"
        if ("keep_firing_for" in rule) == (name in ends_at_once):
            yield f"{name}: either `keep_firing_for`, or a line in ENDS_AT_ONCE that says why not"
        if labels.get("severity") not in SEVERITIES:
            yield f"{name}: severity is none of {', '.join(sorted(SEVERITIES))}"
        if not labels.get("resource"):
            yield f"{name}: no resource, so nothing can mute it"
        for key in ("summary", "description", "runbook_url"):
            if not annotations.get(key):
                yield f"{name}: no {key}"
        if not annotations.get("runbook_url", "").endswith(f"/docs/runbooks/{name}.md"):
            yield f"{name}: runbook_url does not end in /docs/runbooks/{name}.md"
        if not (RUNBOOKS / f"{name}.md").is_file():
            yield f"{name}: no docs/runbooks/{name}.md"
        if not re.fullmatch(r"([A-Z][a-z]+)+", name):
            yield f"{path.name}: {name} is not in camel case"
    # An alert of services is there for each service and objective.
    for name in {name for name in names if names.count(name) > 1 and not name.startswith("Service")}:
        yield f"{name}: two alerts of this name"
    for name in ends_at_once - set(names):
        yield f"ENDS_AT_ONCE: {name} is no alert"
    for path in sorted(RUNBOOKS.glob("*.md")):
        text = path.read_text()
        if path.stem not in names:
            yield f"{path.name}: there is no such alert"
        for part in (f"# {path.stem}\n", *PARTS):
            if part not in text:
                yield f"{path.name}: lacks {part.splitlines()[0]!r}"
        for other in re.findall(r"\b((?:Headroom|Machine|Cpu|Filesystem|ProcessGroup|Cgroup|Container|Oom|Swap|Clock|Network|Disk|Conntrack|FileDesc|Service|Benchmark)(?:[A-Z][a-z]+)+)\b", text):
            if other not in names:
                yield f"{path.name}: names {other}, which is no alert"
    for _, rule in rules("record"):
        if not re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", rule["record"]):
            yield f"{rule['record']}: not level:metric:operation"


def check_tests():
    cases = {}
    for path in sorted((ROOT / "prometheus/tests").glob("*.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                moment = (seconds(case["eval_time"]), bool(case["exp_alerts"]))
                cases.setdefault(case["alertname"], {}).setdefault((path.name, test.get("name")), []).append(moment)
    names = {rule["alert"]: seconds(rule["for"]) for _, rule in rules("alert")}
    for name, held in names.items():
        tests = [sorted(moments) for moments in cases.get(name, {}).values()]
        if not any(fires for moments in tests for _, fires in moments):
            yield f"{name}: no test in which it fires"
        if name in ALWAYS:
            continue
        if not any(a[1] and not b[1] for moments in tests for a, b in zip(moments, moments[1:])):
            yield f"{name}: no test in which it ends"
        if not any(not any(fires for _, fires in moments) for moments in tests):
            yield f"{name}: no test in which it stays quiet"
        pending = (b[0] - a[0] <= held for m in tests for a, b in zip(m, m[1:]) if not a[1] and b[1])
        if not any(pending):
            yield f"{name}: no test that it is quiet until its `for` is over"
    for name in cases.keys() - names.keys():
        yield f"{name}: tested, and there is no such alert"
    embedded = set(re.findall(r'include_str!\("[./]*(prometheus/[^"]+)"\)', (ROOT / "src/stack/files.rs").read_text()))
    there = {str(p.relative_to(ROOT)) for p in [*ROOT.glob("prometheus/*.yml"), *ROOT.glob("prometheus/rules/*.yml")]}
    for path in sorted(embedded ^ there):
        yield f"{path}: either not embedded by src/stack/files.rs, or not there"


def check_grafana():
    sources = provisioned("datasources")
    if [source.get("uid") for source in sources] != ["headroom-prometheus"]:
        yield "datasources: not one data source with the uid headroom-prometheus"
    interval = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    for source in sources:
        if source.get("type") != "prometheus" or not source.get("url"):
            yield f"datasources: {source.get('name')} is no Prometheus with a url"
        if source.get("jsonData", {}).get("timeInterval") != interval:
            yield f"datasources: timeInterval is not the scrape interval of prometheus.yml, {interval}"
    providers = provisioned("dashboards")
    if not providers or not all(p.get("type") == "file" and p.get("options", {}).get("path") for p in providers):
        yield "dashboards: no provider of files with a path"


def provisioned(kind):
    key = {"datasources": "datasources", "dashboards": "providers"}[kind]
    files = sorted((ROOT / "grafana/provisioning" / kind).glob("*.yml"))
    return [entry for path in files for entry in yaml.safe_load(path.read_text()).get(key) or []]


# ---- against an Alertmanager ----

HOST = {"instance": "web1:9177", "job": "node"}
DOWN = {"instance": "web3:9177", "job": "node"}
# What is sent, whether it must be muted, and why.
ALERTS = [
    ({"alertname": "Critical", "severity": "critical", "resource": "memory", **HOST}, False, "the source"),
    ({"alertname": "Low", "severity": "warning", "resource": "memory", **HOST}, True, "the same resource and instance"),
    (
        {"alertname": "Acts", "severity": "warning", "resource": "memory", "headroom_action": "reclaim", **HOST},
        False,
        "it carries headroom_action",
    ),
    ({"alertname": "Cpu", "severity": "warning", "resource": "cpu", **HOST}, False, "another resource"),
    (
        {"alertname": "Elsewhere", "severity": "warning", "resource": "memory", "instance": "web2:9177"},
        False,
        "another machine",
    ),
    ({"alertname": "Other", "severity": "critical", "resource": "memory", **HOST}, False, "critical itself"),
    ({"alertname": "Bare", "severity": "warning"}, False, "no resource and no instance"),
    ({"alertname": "Down", "severity": "critical", "resource": "service", "service": "shop"}, False, "a source"),
    ({"alertname": "Late", "severity": "warning", "resource": "service", "service": "shop"}, True, "the same service"),
    ({"alertname": "Else", "severity": "warning", "resource": "service", "service": "queue"}, False, "another service"),
    ({"alertname": "Plan", "severity": "info", "resource": "memory", **HOST}, True, "short now, so no news"),
    ({"alertname": "Later", "severity": "info", "resource": "disk", **HOST}, False, "nothing else about this resource"),
    ({"alertname": "HeadroomExporterDown", "severity": "critical", "resource": "headroom", **DOWN}, False, "a source"),
    ({"alertname": "Stale", "severity": "critical", "resource": "memory", **DOWN}, True, "its machine cannot be read"),
    (
        {"alertname": "Acts2", "severity": "warning", "resource": "memory", "headroom_action": "reclaim", **DOWN},
        False,
        "it carries headroom_action",
    ),
]


def check_inhibition():
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if not program:
        raise OSError("Alertmanager is not installed (apt-get install prometheus-alertmanager)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as state:
        config = yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text())
        # Nobody is to be called; routes and inhibition are what is looked at.
        config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
        path = pathlib.Path(state, "alertmanager.yml")
        path.write_text(json.dumps(config))
        arguments = [f"--config.file={path}", f"--storage.path={state}", f"--web.listen-address={address}"]
        with open(pathlib.Path(state, "log"), "w") as log:
            server = subprocess.Popen([program, *arguments, "--cluster.listen-address="], stdout=log, stderr=log)
        try:
            yield from muted(f"http://{address}/api/v2")
        finally:
            server.terminate()
            server.wait(10)


def muted(api):
    # Sources first, so that what they mute has never been seen without them.
    body = [{"labels": labels} for labels, *_ in ALERTS]
    wait(lambda: call(f"{api}/alerts", body) is None, "it takes alerts")

    def states():
        alerts = call(f"{api}/alerts")
        return {alert["labels"]["alertname"]: alert["status"] for alert in alerts}

    def settled():
        seen = states()
        return len(seen) == len(ALERTS) and all(s["state"] != "unprocessed" for s in seen.values())

    wait(settled, "it has looked at all alerts")
    seen = states()
    for labels, want, why in ALERTS:
        if bool(seen[labels["alertname"]]["inhibitedBy"]) != want:
            yield f"{labels} is {'not ' if want else ''}muted, but: {why}"


def call(url, body=None):
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    request.data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def wait(until, what):
    end = time.monotonic() + 20
    while True:
        try:
            if until():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise OSError(f"Alertmanager: 20 s, and not yet: {what}")
        time.sleep(0.1)


CHECKS = {"alerts": check_alerts, "tests": check_tests, "inhibition": check_inhibition, "grafana": check_grafana}


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(__doc__, file=sys.stderr)
        return 2
    findings = list(CHECKS[arguments[0]]())
    for finding in findings:
        print(f"FINDING {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as e:
        print(f"tests/check_rules.py: {e}", file=sys.stderr)
        sys.exit(2)
