"""What is wrong with a dashboard by itself: identity, data sources, variables, panels, grid, links. For dashboards.py."""

import json
import re

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
BUILT_IN = {"type": "grafana", "uid": "-- Grafana --"}
OF_GRAFANA = {"__rate_interval", "__range", "__interval", "__all", "__field", "__data", "__url_time_range"}
COLUMNS = 24
# On 1366 pixels a column has 55.
NARROWEST = 4
RECORD = "$scheme://${__data.fields.Optimizer}/api/v1/actions"


def panels_of(dashboard):
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def check_structure(path, dashboard, findings):
    def finding(what):
        findings.add(path.name, what)

    if not re.fullmatch(r"headroom-[a-z-]{1,30}", dashboard.get("uid") or ""):
        finding("the uid is not fixed as headroom-…")
    if not dashboard.get("title") or not dashboard.get("description"):
        finding("no title or no description")
    if dashboard.get("id") is not None:
        finding("`id` belongs to one Grafana's database: null it")
    if not 36 <= dashboard.get("schemaVersion", 0) <= 39:
        finding("schemaVersion is not one that Grafana 10 reads and later ones migrate (36 to 39)")
    check_datasources(path, dashboard, findings)
    check_variables(path, dashboard, findings)
    panels = list(panels_of(dashboard))
    if not panels:
        finding("no panels")
    for name in ("id", "title"):
        seen = [panel.get(name) for panel in panels]
        for twice in {value for value in seen if seen.count(value) > 1}:
            finding(f"{name} {twice!r} is not unique among the panels")
    for panel in panels:
        check_panel(path, panel, findings)
    check_grid(path, panels, findings)


def check_datasources(path, node, findings, inside="dashboard"):
    if isinstance(node, dict):
        allowed = (DATASOURCE, BUILT_IN) if node.get("builtIn") else (DATASOURCE,)
        if "datasource" in node and node["datasource"] not in allowed:
            findings.add(path.name, f"{inside}: the data source is not ${{datasource}}: {node['datasource']!r}")
        if "expr" in node and "datasource" not in node:
            findings.add(path.name, f"{inside}: a query without a data source")
        for key, value in node.items():
            check_datasources(path, value, findings, node.get("title") or node.get("name") or inside)
    elif isinstance(node, list):
        for value in node:
            check_datasources(path, value, findings, inside)


def variables_of(dashboard):
    return dashboard.get("templating", {}).get("list", [])


def check_variables(path, dashboard, findings):
    by_name = {variable["name"]: variable for variable in variables_of(dashboard)}
    if by_name.get("datasource", {}).get("type") != "datasource":
        findings.add(path.name, "no variable `datasource` of the type datasource")
    for name in ("job", "instance"):
        variable = by_name.get(name, {})
        if not (variable.get("multi") and variable.get("includeAll")):
            findings.add(path.name, f"no variable `{name}` with several values and All")
    text = json.dumps(dashboard)
    for name in set(re.findall(r"\$\{?([a-zA-Z_]\w*)", text)) - OF_GRAFANA - set(by_name):
        findings.add(path.name, f"variable ${name} is not defined")
    for name in by_name:
        if not re.search(r"\$\{?" + name + r"\b", text):
            findings.add(path.name, f"variable {name} is not used")


def check_panel(path, panel, findings):
    title = panel.get("title") or f"panel {panel.get('id')}"
    for key in ("id", "type", "title", "gridPos"):
        if not panel.get(key):
            findings.add(path.name, f"{title}: no {key}")
    if panel.get("type") == "row":
        return
    if not panel.get("description"):
        findings.add(path.name, f"{title}: no description")
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        findings.add(path.name, f"{title}: no unit")
    if panel.get("gridPos", {}).get("w", 0) < NARROWEST:
        findings.add(path.name, f"{title}: too narrow for a screen of 1366 pixels")
    targets = panel.get("targets", [])
    if not targets:
        findings.add(path.name, f"{title}: no query")
    if len({target.get("refId") for target in targets}) != len(targets):
        findings.add(path.name, f"{title}: a refId is missing or not unique")


def links_of(node):
    """Every URL of a link, wherever it stands."""
    if isinstance(node, dict):
        if isinstance(node.get("url"), str):
            yield node["url"]
        for value in node.values():
            yield from links_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from links_of(value)


def check_links(loaded, findings):
    """Links lead to dashboards that are here, and set variables that those have."""
    variables = {d.get("uid"): {variable["name"] for variable in variables_of(d)} for d in loaded}
    for dashboard in loaded:
        for url in links_of(dashboard):
            found = re.fullmatch(r"/d/([\w-]+)(?:\?(.*))?", url)
            if not found and not url.startswith(RECORD):
                findings.add(dashboard["uid"], f"{url} is neither a dashboard nor the optimizer's record")
            elif found and found[1] not in variables:
                findings.add(dashboard["uid"], f"{url}: there is no dashboard {found[1]}")
            elif found:
                given = re.findall(r"(?:^|&)var-(\w+)=|\$\{(\w+):queryparam\}", found[2] or "")
                for name in {one or other for one, other in given} - variables[found[1]]:
                    findings.add(dashboard["uid"], f"{url}: {found[1]} has no variable {name}")
    reached = {found[1] for d in loaded for url in links_of(d) if (found := re.match(r"/d/([\w-]+)", url))}
    for uid in variables.keys() - reached:
        findings.add(uid, "no link leads here")


def check_grid(path, panels, findings):
    taken = {}
    for panel in panels:
        grid = panel.get("gridPos", {})
        x, y, w, h = (grid.get(key, -1) for key in "xywh")
        if min(x, y) < 0 or min(w, h) < 1 or x + w > COLUMNS:
            findings.add(path.name, f"{panel.get('title')}: outside of the grid")
            continue
        for cell in ((column, line) for column in range(x, x + w) for line in range(y, y + h)):
            if cell in taken:
                findings.add(path.name, f"{panel.get('title')} lies over {taken[cell]}")
                break
            taken[cell] = panel.get("title")
