"""What the dashboards show: one description, from which Grafana's JSON, the tests and the pictures are made."""

from monitoring.grafana.panels.panel import Dashboard, Panel, Query
from monitoring.grafana.panels.pipeline import PIPELINE
from monitoring.grafana.panels.retrieval import RETRIEVAL
from monitoring.grafana.panels.triton import TRITON

__all__ = ["DASHBOARDS", "Dashboard", "Panel", "Query"]

DASHBOARDS = (PIPELINE, TRITON, RETRIEVAL)
