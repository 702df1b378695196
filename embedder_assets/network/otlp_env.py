"""Where OpenTelemetry's standard environment variables send traces."""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "OTEL_EXPORTER_OTLP_"


def is_configured(environ: Mapping[str, str]) -> bool:
    """Whether the variables name a collector for traces, and none of them switches traces off."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(_variable(environ, "ENDPOINT"))


def protocol(environ: Mapping[str, str]) -> str:
    """``http/protobuf`` unless the variables name another one."""
    return _variable(environ, "PROTOCOL") or "http/protobuf"


def http_url(environ: Mapping[str, str]) -> str | None:
    """The address that takes traces by OTLP over HTTP, or None without such a collector."""
    if not is_configured(environ) or protocol(environ) == "grpc":
        return None
    own = environ.get(f"{PREFIX}TRACES_ENDPOINT")
    return own or f"{environ[f'{PREFIX}ENDPOINT'].rstrip('/')}/v1/traces"


def _variable(environ: Mapping[str, str], name: str) -> str:
    """The variable for traces, else the one for all signals."""
    return environ.get(f"{PREFIX}TRACES_{name}") or environ.get(f"{PREFIX}{name}") or ""
