"""What every kind of connection needs, whatever protocol it speaks; others may import all of it.

``tls`` reads the certificates, keys and secrets that settings name, ``loopback`` speaks HTTP to this machine and says
whose a listener is, ``otlp_env`` reads OpenTelemetry's variables. Protocols do not belong here, but to their users:
Triton's to ``serving``, the object store's to ``tables``, the metrics endpoint's to ``telemetry.exporter``.
"""
