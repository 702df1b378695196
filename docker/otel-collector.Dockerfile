# The OpenTelemetry Collector, with what a health check needs: its image holds the one program and no shell.
# Never built on the machine it was written on (no Docker engine).
FROM busybox:1.37.0-musl AS busybox

FROM otel/opentelemetry-collector:0.136.0
COPY --from=busybox /bin/busybox /bin/wget
USER 10001:10001
