"""Connections in general: certificates (``tls``), local connections (``loopback``), OTLP variables (``otlp_env``).

The protocols themselves belong to their users: Triton's to ``serving``, the object store's to ``tables``, the metrics
endpoint's to ``telemetry.exporter``.
"""
