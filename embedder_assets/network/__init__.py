"""Small pieces that any connection needs: TLS credentials, plain HTTP on this machine, OpenTelemetry's variables."""
