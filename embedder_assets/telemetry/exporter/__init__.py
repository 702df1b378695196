"""The Prometheus metrics endpoint, of the long-running exporter and of a run that finds none.

``collector`` feeds the instruments of ``metrics`` from stage records, ``live_state`` gives gauges of the present state,
``server`` serves both over HTTP, ``pushgateway`` pushes them. What is measured does not belong here: stages record it.
Others use ``collector``, ``server.serve_metrics``, ``live_state.StateCollector``, ``pushgateway.push`` and the names
in ``metrics``.
"""
