"""Writes Grafana's JSON of the dashboards: ``python -m monitoring.grafana.build_dashboards``."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_types
from grafana_foundation_sdk.models import dashboard as types

from monitoring.grafana.panels import DASHBOARDS, Dashboard, Panel

FOLDER = Path(__file__).parent / "dashboards"
# Of provisioning/datasources/prometheus.yml.
SOURCE = types.DataSourceRef(type_val="prometheus", uid="prometheus")
GRID_WIDTH = 24
HEIGHTS = {"stat": 4, "timeseries": 8}


def as_json(page: Dashboard) -> str:
    """The dashboard as Grafana reads it."""
    builder = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags(["embedder-assets"])
        .time("now-24h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .link(_to_the_others())
    )
    if any("$collection" in query.expression for panel in page.panels() for query in panel.queries):
        builder = builder.with_variable(_collections())
    numbers = count(1)
    for row in page.rows:
        builder = builder.with_row(dashboard.Row(row.title))
        for line in row.lines():
            for panel in line:
                builder = builder.with_panel(_panel(panel, next(numbers), GRID_WIDTH // len(line)))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _panel(panel: Panel, number: int, width: int) -> timeseries.Panel | stat.Panel:
    built = (
        (_graph() if panel.kind == "timeseries" else _number())
        .id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(HEIGHTS[panel.kind])
        .span(width)
    )
    for query, name in zip(panel.queries, "ABCDEFG", strict=False):
        built = built.with_target(
            prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(name).range()
        )
    return built.thresholds(_thresholds(panel))


def _graph() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_types.LegendDisplayMode.LIST)
        .placement(common_types.LegendPlacement.BOTTOM)
    )
    line = common.GraphThresholdsStyleConfig().mode(common_types.GraphThresholdsStyleMode.LINE)
    return timeseries.Panel().legend(legend).line_width(2).fill_opacity(8).min(0).thresholds_style(line)


def _number() -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().reduce_options(last).graph_mode(common_types.BigValueGraphMode.AREA)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    below, above = ("red", "green") if panel.less_is_worse else ("green", "red")
    steps = [types.Threshold(value=None, color="green" if panel.warn is None else below)]
    if panel.warn is not None:
        steps.append(types.Threshold(value=panel.warn, color=above))
    return dashboard.ThresholdsConfig().mode(types.ThresholdsMode.ABSOLUTE).steps(steps)


def _collections() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("collection")
        .label("Collection")
        .datasource(SOURCE)
        .query("label_values(rag_table_rows, collection)")
        .refresh(types.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(types.VariableOption(text="All", value="$__all"))
    )


def _to_the_others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("embedder-assets")
        .type(types.DashboardLinkType.DASHBOARDS)
        .tags(["embedder-assets"])
        .keep_time(True)
    )


def main() -> None:
    """Writes a file for each dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for page in DASHBOARDS:
        (FOLDER / f"{page.uid}.json").write_text(as_json(page), "utf-8")


if __name__ == "__main__":
    main()
