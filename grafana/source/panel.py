"""The kinds of panels: each with title, description, unit and queries, and everything else alike."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from colours import GOOD, MEANINGS, NEUTRAL
from promql import promql

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
NONE = "–"
Panel = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel | bargauge.Panel
# For pages that lead on with what is chosen here.
_CHOSEN = "${datasource:queryparam}&${job:queryparam}"


@dataclass(frozen=True)
class Text:
    """What a panel is called, what it says and in which unit. `empty`: why a healthy machine may have nothing here."""

    title: str
    description: str
    unit: str
    empty: str = ""

    def whole(self) -> str:
        return f"{self.description} Empty where {self.empty}." if self.empty else self.description


@dataclass(frozen=True)
class Series:
    """A query and how its series are called."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True)
class Size:
    """Of 24 columns, at least 4 for a number and 8 for a graph, so that 1366 pixels are enough."""

    w: int = 12
    h: int = 8


@dataclass(frozen=True)
class Column:
    """A column of a table: a query, or (without one) a label that the queries have."""

    name: str
    expr: str = ""
    unit: str = ""
    label: str = ""
    steps: Sequence[tuple[float | None, str]] = ()
    links: Sequence[dashboard.DashboardLink] = ()
    width: int = 0


def link(title: str, uid: str, same_machine: bool = True, **variables: str) -> dashboard.DashboardLink:
    """To another dashboard, with what is chosen here and the given variables."""
    chosen = _CHOSEN + ("&${instance:queryparam}" if same_machine else "")
    given = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return dashboard.DashboardLink(title).url(f"/d/{uid}?{chosen}{given}&${{__url_time_range}}")


def _value(id_val: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val, value)


def _links(links: Sequence[dashboard.DashboardLink]) -> list[dict[str, object]]:
    built = [one.build() for one in links]
    return [{"title": one.title, "url": one.url, "targetBlank": one.target_blank} for one in built]


def _target(number: int, series: Series, instant: bool) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(promql(series.expr)).legend_format(series.legend)
    query = query.ref_id(string.ascii_uppercase[number]).datasource(DATASOURCE)
    return query.instant() if instant else query.range()


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    made = [model.Threshold(value, colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _mapping(states: dict[str, tuple[str, str]]) -> list[model.ValueMapping]:
    options = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(states.items())
    }
    return [model.ValueMap(options)]


def _coloured(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def graph(
    text: Text,
    series: Sequence[Series],
    size: Size = Size(),
    *,
    stacked: bool = False,
    top: float | None = None,
    zero: bool = True,
    links: Sequence[dashboard.DashboardLink] = (),
) -> timeseries.Panel:
    """Lines over time, or a stack of areas."""
    panel = _graph(text, series, size, links).line_width(1).show_points(shapes.VisibilityMode.NEVER)
    panel = panel.fill_opacity(60 if stacked else 8).stacking(_stacking(stacked))
    if zero:
        panel = panel.axis_soft_min(0)
    if top is not None:
        panel = panel.axis_soft_max(top)
    return panel


def bars(
    text: Text, series: Sequence[Series], size: Size = Size(8), links: Sequence[dashboard.DashboardLink] = ()
) -> timeseries.Panel:
    """What happened in each interval of a minute or, over long times, more."""
    panel = _graph(text, series, size, links, interval="1m").draw_style(shapes.GraphDrawStyle.BARS)
    panel = panel.line_width(1).fill_opacity(70).stacking(_stacking(True)).axis_soft_min(0)
    return panel if text.unit == "bytes" else panel.decimals(0)


def dots(text: Text, series: Sequence[Series], size: Size = Size(8)) -> timeseries.Panel:
    """Single measurements, which no line may join."""
    panel = _graph(text, series, size, (), interval="1m").draw_style(shapes.GraphDrawStyle.POINTS)
    return panel.point_size(6).show_points(shapes.VisibilityMode.ALWAYS).axis_soft_min(0)


def _stacking(normal: bool) -> common.StackingConfig:
    mode = shapes.StackingMode.NORMAL if normal else shapes.StackingMode.NONE
    return common.StackingConfig().mode(mode).group("A")


def _graph(
    text: Text, series: Sequence[Series], size: Size, links: Sequence[dashboard.DashboardLink], interval: str = ""
) -> timeseries.Panel:
    panel = timeseries.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = panel.span(size.w).height(size.h).color_scheme(_coloured(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel = panel.thresholds(_thresholds([(None, GOOD)])).span_nulls(False)
    legend = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(shapes.LegendPlacement.BOTTOM).show_legend(True).calcs([]))
    panel = panel.tooltip(
        common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    )
    for number, one in enumerate(series):
        target = _target(number, one, instant=False)
        panel = panel.with_target(target.interval(interval) if interval else target)
    for meaning in MEANINGS:
        if any(meaning.fits(one.legend) for one in series):
            look = [_value("color", {"mode": "fixed", "fixedColor": meaning.colour})]
            if meaning.dashed:
                look += [_value("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}), _value("custom.fillOpacity", 0)]
                look += [_value("custom.lineWidth", 1), _value("custom.stacking", {"group": "B", "mode": "none"})]
            panel = panel.override_by_regexp(meaning.pattern(), look)
    return panel.data_links(list(links)) if links else panel


def number(
    text: Text,
    expr: str,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, NEUTRAL),),
    states: dict[str, tuple[str, str]] | None = None,
    decimals: int | None = None,
    width: int = 4,
) -> stat.Panel:
    """One number that says how things are now. Coloured only where a state is good or bad in itself: a measured value
    is held against its threshold in a graph."""
    panel = stat.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = (
        panel.span(width)
        .height(4)
        .thresholds(_thresholds(steps))
        .no_value(NONE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
    )
    panel = panel.color_scheme(_coloured(model.FieldColorModeId.THRESHOLDS)).text_mode(shapes.BigValueTextMode.VALUE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    if states:
        panel = panel.mappings(_mapping(states))
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.with_target(_target(0, Series(expr), instant=True))


def ranking(
    text: Text, series: Series, size: Size = Size(), links: Sequence[dashboard.DashboardLink] = ()
) -> bargauge.Panel:
    """Who has most now, as bars, the longest first."""
    panel = bargauge.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = panel.span(size.w).height(size.h).color_scheme(_coloured(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel = panel.thresholds(_thresholds([(None, NEUTRAL)])).orientation(shapes.VizOrientation.HORIZONTAL).min(0)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.display_mode(shapes.BarGaugeDisplayMode.BASIC).no_value(NONE)
    panel = panel.with_target(_target(0, series, instant=True))
    return panel.data_links(list(links)) if links else panel


def states(
    text: Text, series: Sequence[Series], meanings: dict[str, tuple[str, str]], size: Size = Size()
) -> statetimeline.Panel:
    """What state something was in, as a bar over time."""
    panel = statetimeline.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = panel.span(size.w).height(size.h).color_scheme(_coloured(model.FieldColorModeId.THRESHOLDS)).line_width(0)
    panel = (
        panel.fill_opacity(80)
        .thresholds(_thresholds([(None, NEUTRAL)]))
        .mappings(_mapping(meanings))
        .merge_values(True)
    )
    panel = panel.show_value(shapes.VisibilityMode.NEVER).row_height(0.8).no_value(NONE)
    for index, one in enumerate(series):
        panel = panel.with_target(_target(index, one, instant=False))
    return panel


def listing(text: Text, columns: Sequence[Column], sort: str, size: Size = Size(24)) -> table.Panel:
    """A table of what is now, one line for each set of labels; the worst first by the column `sort`."""
    panel = table.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = panel.span(size.w).height(size.h).color_scheme(_coloured(model.FieldColorModeId.THRESHOLDS)).no_value(NONE)
    panel = panel.thresholds(_thresholds([(None, NEUTRAL)])).show_header(True)
    panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    values = [column for column in columns if column.expr]
    names: dict[str, Column] = {}
    for index, column in enumerate(values):
        target = _target(index, Series(column.expr), instant=True).format(PromQueryFormat.TABLE)
        panel = panel.with_target(target)
        # With one query alone Grafana leaves its letter out.
        names["Value" if len(values) == 1 else f"Value #{string.ascii_uppercase[index]}"] = column
    names.update({column.label: column for column in columns if column.label})
    order = {source: columns.index(column) for source, column in names.items()}
    if len(values) > 1:
        panel = panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    rename = {source: column.name for source, column in names.items()}
    options = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": rename}
    panel = panel.with_transformation(model.DataTransformerConfig("organize", options=options))
    for column in columns:
        look = _look(column)
        if look:
            panel = panel.override_by_name(column.name, look)
    return panel


def _look(column: Column) -> list[model.DynamicConfigValue]:
    look = [_value("unit", column.unit)] if column.unit else []
    if column.steps:
        steps = [{"value": value, "color": colour} for value, colour in column.steps]
        look.append(_value("thresholds", {"mode": "absolute", "steps": steps}))
        look.append(_value("custom.cellOptions", {"type": "color-text"}))
    if column.links:
        look.append(_value("links", _links(column.links)))
    if column.width:
        look.append(_value("custom.width", column.width))
    return look


def happened(text: Text, expr: str, columns: Sequence[Column], size: Size = Size()) -> table.Panel:
    """A table of what happened in the chosen time, the newest first: one line for each interval in which it did."""
    panel = table.Panel().title(text.title).description(text.whole()).unit(text.unit).datasource(DATASOURCE)
    panel = panel.span(size.w).height(size.h).color_scheme(_coloured(model.FieldColorModeId.THRESHOLDS)).no_value(NONE)
    panel = panel.thresholds(_thresholds([(None, NEUTRAL)])).show_header(True)
    panel = panel.sort_by([common.TableSortByFieldState().display_name("Time").desc(True)])
    target = _target(0, Series(expr), instant=False).format(PromQueryFormat.TABLE).interval("1m")
    panel = panel.with_target(target)
    rename = {column.label or "Value": column.name for column in columns}
    order: dict[str, int] = {"Time": 0} | {source: index for index, source in enumerate(rename, 1)}
    options = {"excludeByName": {}, "indexByName": order, "renameByName": rename}
    panel = panel.with_transformation(model.DataTransformerConfig("organize", options=options))
    for column in columns:
        look = _look(column)
        if look:
            panel = panel.override_by_name(column.name, look)
    return panel
