"""Names of settings that are gone, and what stands in their place."""

from __future__ import annotations

# Old name to new. Ignoring the old one would quietly compute with the default, so it is refused.
RENAMED = {"dense_model": "dense_models", "sparse_fallback": "fallback", "rerank_fallback": "fallback"}
_STAGES = "the stages with a fallback (`{}` if this is false; `none` for neither)"
# What the new one takes, where that is not the old value.
NEW_VALUES = {"sparse_fallback": _STAGES.format("rerank"), "rerank_fallback": _STAGES.format("sparse")}

_LINKS = "set EMBEDDER_LINKS, for example to {}"
# What became of each; the limits are constants next to the code that keeps them. A variable of such a name is ignored,
# and every command warns of it with these words.
REMOVED = {
    "max_text_chars": "the limit is 20,000,000 characters per document",
    "max_pdf_pages": "the limit is 20,000 pages per PDF",
    "max_unpacked_mb": "the limit is 200 MB per unpacked DOCX",
    "max_unpacked_ratio": "a DOCX may unpack to 200 times its size",
    "max_nesting": "the limit is 500 levels of HTML, DOCX or reStructuredText",
    "max_markdown_nesting": "the limit is 50 block quotes and lists on one line of Markdown",
    "max_markdown_steps": "the limit is 5,000,000 steps per document's Markdown",
    "document_memory_mb": "the process that reads documents has 4096 MB",
    "max_bad_share": "a collection fails with more than half of its documents unusable",
    "max_synthetic_queries": "at most 50 queries are made per collection that has none",
    "gpu_lease_slots": "4 stages per server of EMBEDDER_TRITON_URL hold a lease at once, or one stage with "
    "EMBEDDER_GPU_LEASE_POLICY=exclusive",
    "sensor_interval_s": "sensors look every 30 s, or every EMBEDDER_SETTLE_S where that is shorter",
    "trace_request_ratio": "a twentieth of the requests to Triton gets a span",
    "metrics_required": "a run whose samples no scrape has shown gets a warning",
    "triton_tls_key": "put the private key into the file of EMBEDDER_TRITON_TLS_CERT, below the certificate",
    "serve_tls_key": "put the private key into the file of EMBEDDER_SERVE_TLS_CERT, below the certificate",
    "metrics_tls_key": "put the private key into the file of EMBEDDER_METRICS_TLS_CERT, below the certificate",
    "metrics_username": "the user of the metrics endpoint is always `prometheus`",
    "trace_url": _LINKS.format("trace=https://traces.example/trace/{trace_id}"),
    "dashboard_url": _LINKS.format("dashboard=https://grafana.example/d/rag"),
}


def as_sentence(remedy: str) -> str:
    """A remedy that may stand within a sentence, such as those above, as a sentence of its own."""
    return f"{remedy[0].upper()}{remedy[1:]}{'' if remedy.endswith('?') else '.'}"
