#!/usr/bin/env python3
"""Checks Grafana's dashboards, and the queries in them and in the runbooks.

tests/dashboards.py                        structure, syntax and names: needs promtool and no server
tests/dashboards.py PROMETHEUS_URL         besides, runs every query against that Prometheus
tests/dashboards.py --busy PROMETHEUS_URL  the same, where an action has freed memory: panels that a quiet machine
                                           leaves empty must show something

The Prometheus must have scraped a stack with at least one process group and one target of the optimizer for a minute.
Exit status: 0 fine, 1 a finding, 2 the check could not be done.
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
from dashboards_structure import DATASOURCE, check_links, check_structure, panels_of, variables_of  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
WINDOWS = ("$__rate_interval", "$__range", "$__range:$__interval")

# What may be empty on a machine where nothing has happened yet, as "dashboard: panel", and annotations as "*: name". One
# that is no panel or annotation is a finding, and so is a panel whose description does not say so.
QUIET = {
    "*: Actions that freed memory": "no action has freed memory",
    "*: Actions without a gain": "no action was in vain",
    "*: Actions that did harm": "no action did harm",
    "*: OOM kills": "the kernel has not killed",
    "*: Restarts": "nothing was started anew",
    "*: Benchmark runs": "no run was recorded in the last minutes",
    "fleet: Links down": "no link is down",
    "machine: Time of a read or write": "there is less than one operation a second",
    "machine: Errors and drops": "there are less than ten packets a second",
    "memory: Until it is used up": "memory does not fall",
    "memory: Nearest limit": "no group grows towards a limit",
    "memory: Seconds to the limit": "no group grows towards a limit",
    "container: Seconds to the limit": "no group grows towards a limit",
    "leaks: Suspicions": "no leak is suspected: it wants six hours",
    "the-loop: Effective runs": "no run has acted",
    "the-loop: Time of actions": "a histogram has no samples before the first action",
    "the-loop: From threshold to relief": "no threshold is crossed that asks for an action",
    "the-loop: Longest to relief": "no threshold was crossed that asks for an action, or for less than one interval",
    "the-loop: From stall to first action": "no rule of `pressure` saw a stall",
    "the-loop: Journal: actions": "no action has ended",
    "the-loop: Journal: bytes that came back": "no action has freed memory",
}
# These show something once an action has freed memory; the others wait for what a demo does not do.
BUSY = {
    "*: Actions that freed memory",
    "the-loop: Effective runs",
    "the-loop: Time of actions",
    "the-loop: Journal: actions",
    "the-loop: Journal: bytes that came back",
}
# What may be absent from the host: (names of metrics, why, a query that gives something where the excuse holds;
# {name} there is the metric).
HOST = [
    (
        r"(instance:)?node_pressure_.*|instance:node_memory_pressure_.*",
        "a kernel without pressure stall information",
        'absent(node_scrape_collector_success{collector="pressure"} == 1)',
    ),
    (
        r"headroom_cgroup_memory_pressure_.*",
        "a kernel or cgroup v1 without pressure of control groups",
        "absent(headroom_cgroup_memory_pressure_waiting_seconds_total)",
    ),
    (
        r"namedprocess_namegroup_.*|headroom_process_groups?_.*",
        "no named process group has processes",
        "absent(namedprocess_namegroup_num_procs > 0)",
    ),
    (r"headroom_cgroup_memory_(limit|high)_bytes", "no control group has a limit", "absent({name})"),
    (
        r"(instance_id:)?container_.*",
        "the collector `containers` is not switched on",
        'absent(node_scrape_collector_success{collector="containers"} == 1)',
    ),
    (
        r"(instance_id:)?container_(spec_)?cpu_(cfs_|throttled|quota|period).*",
        "no group has a CPU limit",
        "absent({name})",
    ),
    (r"container_fs_.*", "the kernel counts no reads and writes of groups", "absent({name})"),
    (r"headroom_http_auth_failures_total", "no listener asks for a password or token", "absent({name})"),
    (r"headroom_(otlp_records|optimizer_annotations)_total", "the configuration asks for neither", "absent({name})"),
    (r"service:slo_.*", "the configuration has no `services`", "absent({name})"),
    (r"headroom_health_.*", "nothing is probed", "absent({name})"),
    (r"headroom_http_tls_failures_total", "no listener has certificates", "absent({name})"),
    (
        r"headroom_(cgroup_)?memory_time_to_(limit|exhaustion)_seconds",
        "nothing grows towards a limit",
        "absent({name})",
    ),
    (
        r"(instance:)?node_nf_conntrack_.*",
        "no connections are tracked",
        'absent(node_scrape_collector_success{collector="conntrack"} == 1)',
    ),
    (
        r"instance_device:node_network_(errors|dropped):ratio_rate5m",
        "there are less than ten packets a second",
        "absent({name})",
    ),
    (
        r"instance_device:node_disk_operation:mean_seconds5m",
        "there is less than one operation a second",
        "absent({name})",
    ),
    (r"(instance_benchmark:)?headroom_benchmark_.*", "no run of a benchmark is recorded", "absent({name})"),
    (r"node_bonding_active", "no interfaces are bonded", "absent({name})"),
    (r"headroom_monitor_.*", "no monitor runs, or nothing of this kind has happened to it", "absent({name})"),
    (r"prometheus_.*", "no Prometheus is scraped", 'absent(up{job="prometheus"})'),
    (r"alertmanager_.*", "no Alertmanager is scraped", 'absent(up{job="alertmanager"})'),
    (
        r"headroom_web_config_last_reload_successful",
        "no listener has a web configuration",
        # A listener that has one shows this from its start on.
        "absent(headroom_http_tls_failures_total)",
    ),
]


class Findings:
    """What is wrong, printed once each."""

    def __init__(self):
        self.lines = []

    def add(self, where, what):
        line = f"{where}: {what}"
        if line not in self.lines:
            self.lines.append(line)
            print(f"FINDING {line}")


class Query:
    """A PromQL expression, where it stands, its name in QUIET, and how it is read."""

    def __init__(self, where, key, expr, legend="", instant=False, may_be_empty=False):
        self.where, self.key, self.expr = where, key, expr
        self.legend, self.instant, self.may_be_empty = legend, instant, may_be_empty


def dashboards():
    return sorted((ROOT / "grafana/dashboards").glob("*.json"))


# ---- queries ----


def check_said(path, panel, findings):
    """Who looks at an empty panel wants to know there whether that is well."""
    said = panel.get("description") or ""
    if f"{path.stem}: {panel['title']}" in QUIET and not re.search(r"\bEmpty where\b|– : ", said):
        findings.add(path.name, f"{panel['title']}: may be empty, and does not say why")


def queries_of(path, dashboard):
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            where = f"{path.name}: {panel.get('title')} ({target.get('refId')})"
            legend = target.get("legendFormat", "")
            key = f"{path.stem}: {panel.get('title')}"
            yield Query(where, key, target.get("expr", ""), legend, bool(target.get("instant")))
    for annotation in dashboard.get("annotations", {}).get("list", []):
        if annotation.get("datasource") == DATASOURCE:
            name = annotation.get("name")
            legend = annotation.get("titleFormat", "") + annotation.get("textFormat", "")
            yield Query(f"{path.name}: {name}", f"*: {name}", annotation.get("expr", ""), legend)


def queries_of_runbooks():
    for path in sorted((ROOT / "docs/runbooks").glob("*.md")):
        blocks = re.findall(r"^```promql\n(.*?)^```", path.read_text(), re.S | re.M)
        for expr in (e for block in blocks for e in re.split(r"\n\s*\n", block)):
            lines = [line for line in expr.splitlines() if not line.lstrip().startswith("#")]
            if lines:
                yield Query(f"{path.name}: {lines[0]}", path.stem, "\n".join(lines), instant=True, may_be_empty=True)


def filled(expr, values):
    for name, value in values.items():
        expr = re.sub(r"\$\{" + name + r"\}|\$" + name + r"\b", lambda _: value, expr)
    return expr


STATIC = {"__rate_interval": "1m", "__range": "30m", "__interval": "15s", "job": "node", "instance": "web1"}


def check_queries(dashboard_queries, runbook_queries, findings):
    for query in dashboard_queries:
        for window in re.findall(r"\[([^\]]*)\]", re.sub(r'"(\\.|[^"\\])*"', '""', query.expr)):
            if window not in WINDOWS:
                findings.add(query.where, f"[{window}] is none of {', '.join(WINDOWS)}")
        for selector, labels in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", query.expr):
            if "$instance" not in labels:
                findings.add(query.where, f"{selector} is not limited to $instance")
    queries = dashboard_queries + runbook_queries
    check_syntax(queries, findings)
    known = known_names()
    for query in queries:
        for name in sorted(metrics_in(query.expr)):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            if name.startswith(("headroom", "namedprocess", "instance", "service")) and not {name, base} & known:
                findings.add(query.where, f"{name} is neither in src nor in prometheus/rules")


def check_syntax(queries, findings):
    """promtool parses a rule file; so each query becomes a rule."""
    rules = [{"record": f"q{i}", "expr": filled(q.expr, STATIC)} for i, q in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "queries", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    for number, why in re.findall(r'rule \d+, "q(\d+)": (.*)', said):
        findings.add(queries[int(number)].where, why)
    if '"q' not in said:
        findings.add("promtool", said.strip())


def known_names():
    """Names of our metrics, in full or made of a prefix and a name that stand in the same file, and recorded ones."""
    names = set()
    for path in ROOT.glob("src/**/*.rs"):
        text = path.read_text()
        words = set(re.findall(r'"([a-z][a-z0-9_]*)"', text))
        names |= words
        for prefix in re.findall(r'"([a-z_]+_)\{\w+\}"', text):
            names |= {prefix + word for word in words}
    # The example's services have each kind of indicator, so all that is recorded of services is there.
    for path in [*ROOT.glob("prometheus/rules/*.yml"), *ROOT.glob("prometheus/services/*.rules.yml")]:
        names |= set(re.findall(r"- record: (\S+)", path.read_text()))
    return names


WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS |= {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def metrics_in(expr):
    expr = re.sub(r'"(\\.|[^"\\])*"', "", expr)
    expr = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", expr)
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expr)
    names = re.findall(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", expr)
    return {name for name in names if name.lower() not in WORDS}


# ---- against a server ----


class Prometheus:
    def __init__(self, url):
        self.url = url.rstrip("/")
        self.now = time.time()

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise ValueError(json.loads(e.read() or b"{}").get("error", str(e))) from e

    def range(self, expr):
        times = {"start": self.now - 900, "end": self.now, "step": 15}
        result = self.get("query_range", query=expr, **times)["result"]
        return [(s["metric"], [v for _, v in s["values"]]) for s in result]

    def instant(self, expr):
        result = self.get("query", query=expr, time=self.now)["result"]
        return [(s["metric"], [s["value"][1]]) for s in result]

    def label_values(self, query):
        selector, label = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", query).groups()
        series = self.get("series", **{"match[]": selector, "start": self.now - 900, "end": self.now})
        return sorted({one[label] for one in series if label in one})

    def names(self):
        return set(self.get("label/__name__/values", start=self.now - 900, end=self.now))


def resolve(server, dashboard, findings, path):
    """The variables as Grafana fills them in with All chosen: a regular expression of all values."""
    values = {"__rate_interval": "1m", "__range": "15m", "__interval": "15s"}
    for variable in variables_of(dashboard):
        if variable["type"] != "query":
            continue
        query = variable["query"]["query"]
        found = server.label_values(filled(query, values))
        regex = variable.get("regex", "").strip("/")
        if regex:
            found = sorted({m.group(1) for m in (re.search(regex, value) for value in found) if m})
        selector = re.fullmatch(r"label_values\((.*),\s*\w+\)", query)[1]
        if not found and not any(excuse(name, server) for name in metrics_in(selector)):
            findings.add(path.name, f"variable {variable['name']} has no values")
        # A backslash inside of a PromQL string is written twice.
        escaped = [re.sub(r"([.*+?^${}()|\[\]\\])", r"\\\\\1", value) for value in found]
        values[variable["name"]] = escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    return values


def run_query(server, query, values, names, excuses, findings):
    expr = filled(query.expr, values)
    try:
        result = server.instant(expr) if query.instant else server.range(expr)
    except ValueError as e:
        findings.add(query.where, str(e))
        return
    metrics = metrics_in(query.expr)
    absent = {name for name in metrics if name not in names and not excuse(name, server)}
    for name in sorted(absent):
        if query.key not in excuses:
            findings.add(query.where, f"{name} does not exist")
    shown = [labels for labels, numbers in result if any(not math.isnan(float(n)) for n in numbers)]
    if not shown:
        why = excuses.get(query.key) or next((w for w in map(lambda n: excuse(n, server), metrics) if w), None)
        if why:
            print(f"empty   {query.where}: {why}")
        elif not query.may_be_empty:
            findings.add(query.where, "shows nothing")
        return
    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", query.legend):
        # A label of `by` may be empty on all that is there now.
        if not any(label in labels for labels in shown) and not re.search(rf"by \([^)]*\b{label}\b", query.expr):
            findings.add(query.where, f"the legend's label {label} is on no series")


def excuse(name, server):
    for pattern, why, holds in HOST:
        if re.fullmatch(pattern, name) and server.instant(holds.replace("{name}", name)):
            return why
    return None


def main(arguments):
    busy = "--busy" in arguments
    urls = [a for a in arguments if a != "--busy"]
    if len(urls) > 1 or (busy and not urls) or any(a.startswith("-") for a in urls):
        print(__doc__, file=sys.stderr)
        return 2
    findings = Findings()
    loaded = []
    for path in dashboards():
        try:
            loaded.append((path, json.loads(path.read_text())))
        except ValueError as e:
            findings.add(path.name, str(e))
    uids = [dashboard.get("uid") for _, dashboard in loaded]
    if not loaded or len(set(uids)) != len(uids):
        findings.add("grafana/dashboards", "no dashboard, or two with the same uid")
    queries = []
    for path, dashboard in loaded:
        check_structure(path, dashboard, findings)
        for panel in panels_of(dashboard):
            check_said(path, panel, findings)
        queries.append(list(queries_of(path, dashboard)))
    flat = [query for some in queries for query in some]
    runbooks = list(queries_of_runbooks())
    for key in sorted((set(QUIET) | BUSY) - {query.key for query in flat}):
        findings.add("QUIET", f"{key!r} is no panel and no annotation")
    check_links([dashboard for _, dashboard in loaded], findings)
    check_queries(flat, runbooks, findings)
    if urls:
        server = Prometheus(urls[0])
        names = server.names()
        excuses = {t: w for t, w in QUIET.items() if not busy or t not in BUSY}
        for (path, dashboard), some in zip(loaded, queries):
            values = resolve(server, dashboard, findings, path)
            for query in some:
                run_query(server, query, values, names, excuses, findings)
        for query in runbooks:
            run_query(server, query, STATIC, names, excuses, findings)
    count = sum(1 for _, dashboard in loaded for panel in panels_of(dashboard) if panel.get("type") != "row")
    print(
        f"{len(loaded)} dashboards, {count} panels, {len(flat)} queries, {len(runbooks)} queries of runbooks:"
        f" {len(findings.lines) or 'no'} findings"
    )
    return 1 if findings.lines else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as e:
        print(f"tests/dashboards.py: {e}", file=sys.stderr)
        sys.exit(2)
