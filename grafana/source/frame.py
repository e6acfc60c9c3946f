"""What all dashboards have: variables, annotations, links to each other, and the order of panels."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog import builder
from grafana_foundation_sdk.models import dashboard as model

from colours import CRITICAL, GOOD, NEUTRAL, WARNING
from panel import DATASOURCE, Panel
from promql import once, promql

# The ways from the whole to the single thing, in the order in which they stand at the top of each dashboard.
DASHBOARDS = {
    "headroom-fleet": "Fleet",
    "headroom-machine": "Machine",
    "headroom-memory": "Memory",
    "headroom-group": "Process group",
    "headroom-container": "Container",
    "headroom-services": "Services",
    "headroom-leaks": "Leaks",
    "headroom-loop": "The loop",
    "headroom-benchmarks": "Load tests & benchmarks",
    "headroom-own": "Headroom itself",
}
PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


class Annotation(model.AnnotationQuery):
    """An annotation of Prometheus, with the texts that its data source reads beside what the model knows."""

    def __init__(self, name: str, colour: str, expr: str, title: str, tags: str) -> None:
        super().__init__(
            name=name, datasource=PROMETHEUS, enable=True, hide=False, icon_color=colour, expr=promql(expr)
        )
        self.title, self.tags = title, tags

    def to_json(self) -> dict[str, object]:
        texts = {"titleFormat": self.title, "textFormat": "{{machine}}", "tagKeys": self.tags, "step": "15s"}
        return super().to_json() | texts


class Ready(builder.Builder[model.AnnotationQuery]):
    """A finished object, where the SDK asks for the maker of one."""

    def __init__(self, made: model.AnnotationQuery) -> None:
        self.made = made

    def build(self) -> model.AnnotationQuery:
        return self.made


ANNOTATIONS = [
    Annotation(
        "Actions that freed memory",
        GOOD,
        once("increase(headroom_optimizer_freed_bytes_total{@}[@])", "action, target") + " > 0",
        "{{action}} freed memory of {{target}}",
        "action,target,machine",
    ),
    Annotation(
        "Actions without a gain",
        WARNING,
        once(
            'increase(headroom_optimizer_actions_total{@, result=~"no_gain|failed|interrupted|unknown"}[@])',
            "action, result",
        )
        + " > 0",
        "{{action}}: {{result}}",
        "action,result,machine",
    ),
    Annotation(
        "Actions that did harm",
        CRITICAL,
        once("increase(headroom_optimizer_harmful_actions_total{@}[@])", "action, target") + " > 0",
        "{{action}} did harm to {{target}}",
        "action,target,machine",
    ),
    Annotation(
        "OOM kills",
        CRITICAL,
        once("increase(node_vmstat_oom_kill{@}[@])") + " > 0",
        "The kernel killed for memory",
        "machine",
    ),
    Annotation(
        "Restarts",
        NEUTRAL,
        once(
            "(changes(process_start_time_seconds{@}[@]) > 0) or (resets(node_context_switches_total{@}[@]) > 0)", "job"
        ),
        "{{job}} began anew",
        "job,machine",
    ),
]


@dataclass(frozen=True)
class Choice:
    """A variable that picks series by one of their labels."""

    name: str
    label: str
    query: str
    description: str
    regex: str = ""


JOB = Choice("job", "Job", "label_values(up, job)", "Scrape jobs.")
INSTANCE = Choice(
    "instance",
    "Machine",
    'label_values(headroom_build_info{job=~"$job"}, instance)',
    "Host names without the port: exporter and optimizer of one machine differ only in it.",
    r"/^(.+?)(?::\d+)?$/",
)


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """What makes one dashboard different from the others."""

    uid: str
    file: str
    title: str
    description: str
    rows: Sequence[Row]
    choices: Sequence[Choice] = ()
    more: Sequence[dashboard.CustomVariable] = ()
    span: str = "now-1h"
    annotations: Sequence[Annotation] = ()


def assembled(board: Board) -> model.Dashboard:
    """The whole dashboard in the form that Grafana imports."""
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags(["headroom"])
    made = (
        made.refresh("30s")
        .time(board.span, "now")
        .timezone("browser")
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )
    made = made.version(1).with_variable(_datasource())
    for choice in (JOB, INSTANCE, *board.choices):
        made = made.with_variable(_variable(choice))
    for variable in board.more:
        made = made.with_variable(variable)
    for annotation in (*ANNOTATIONS, *board.annotations):
        made = made.annotation(Ready(annotation))
    for uid, title in DASHBOARDS.items():
        if uid != board.uid:
            made = made.link(_link(uid, title))
    for row in board.rows:
        if row.title:
            made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(panel)
    whole = made.build()
    for number, placed in enumerate(whole.panels or [], 1):
        placed.id_val = number
    return whole


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus").multi(False)


def _variable(choice: Choice) -> dashboard.QueryVariable:
    every = model.VariableOption(text=["All"], value=["$__all"], selected=True)
    query: dict[str, object] = {
        "qryType": 1,
        "query": choice.query,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    made = (
        dashboard.QueryVariable(choice.name).label(choice.label).description(choice.description).datasource(DATASOURCE)
    )
    made = made.query(query).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
    made = made.sort(model.VariableSort.ALPHABETICAL_ASC).current(every)
    return made.regex(choice.regex) if choice.regex else made


def _link(uid: str, title: str) -> dashboard.DashboardLink:
    made = dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).url(f"/d/{uid}").icon("dashboard")
    return made.include_vars(True).keep_time(True)
