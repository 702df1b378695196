"""Grafana: the dashboards and what makes them."""
