"""The dashboard 'Triton and GPU'."""

from monitoring.grafana.panels.panel import INFERENCES, Dashboard, Panel, Query, Row

TRITON = Dashboard(
    "embedder-triton",
    "Triton and GPU",
    "Is the server there, what does it compute, where does a request wait, and what memory does each stage take?",
    (
        Row(
            "Now",
            (
                Panel(
                    "Triton",
                    "1 while Prometheus can scrape it. TritonDown fires at 0.",
                    "short",
                    (Query('min(up{job="triton"})', "up"),),
                    kind="stat",
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Exporter",
                    "1 while Prometheus can scrape it. ExporterDown fires at 0.",
                    "short",
                    (Query('min(up{job="exporter"})', "up"),),
                    kind="stat",
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Requests that wait",
                    "Of all models. TritonQueueGrowing fires when one model stays above 16.",
                    "short",
                    (Query("sum(triton:pending_requests)", "requests"),),
                    kind="stat",
                    warn=16,
                ),
                Panel(
                    "Failed requests in the last hour",
                    "Requests that Triton answered with an error.",
                    "short",
                    (Query("sum(increase(nv_inference_request_failure[1h]))", "requests"),),
                    kind="stat",
                    warn=0.5,
                ),
            ),
        ),
        Row(
            "Models",
            (
                Panel(
                    "Inferences",
                    "Texts and pairs computed per second.",
                    "ops",
                    (INFERENCES,),
                ),
                Panel(
                    "Requests",
                    "Requests answered per second.",
                    "ops",
                    (Query("triton:requests:rate5m", "{{model}}"),),
                ),
                Panel(
                    "Batch size",
                    "Texts or pairs that the server computes together, on average.",
                    "short",
                    (Query("triton:batch_size:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Queue",
                    "Time a request waits in the server, on average.",
                    "s",
                    (Query("triton:queue_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Compute",
                    "Time a request is computed, on average.",
                    "s",
                    (Query("triton:compute_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Request",
                    "Time a request takes in the server, on average.",
                    "s",
                    (Query("triton:request_seconds:mean5m", "{{model}}"),),
                ),
                Panel(
                    "Requests that wait",
                    "Not yet taken up by a model's instance.",
                    "short",
                    (Query("triton:pending_requests", "{{model}}"),),
                    warn=16,
                ),
                Panel(
                    "Failures",
                    "Requests answered with an error, per second.",
                    "ops",
                    (Query("triton:failures:rate5m", "{{model}}"),),
                ),
            ),
        ),
        Row(
            "GPU",
            (
                Panel(
                    "Peak memory of a stage",
                    "Highest memory of the device seen in the stage's last run. GpuMemoryHigh fires above 11.5 GB, "
                    "GpuMemoryCritical above 12 GB.",
                    "decbytes",
                    (Query("rag_gpu_peak_bytes", "{{stage}} {{device}}"),),
                    needs_gpu=True,
                    warn=11.5e9,
                ),
                Panel(
                    "Memory in use",
                    "Of the whole device, and what it has.",
                    "decbytes",
                    (
                        Query("nv_gpu_memory_used_bytes", "{{gpu_uuid}} used"),
                        Query("nv_gpu_memory_total_bytes", "{{gpu_uuid}} total"),
                    ),
                    needs_gpu=True,
                ),
                Panel(
                    "Utilization",
                    "Share of the time in which the device computes.",
                    "percentunit",
                    (Query("nv_gpu_utilization", "{{gpu_uuid}}"),),
                    needs_gpu=True,
                ),
            ),
        ),
        Row(
            "Host",
            (
                Panel(
                    "CPU utilization",
                    "Of the server's machine, as Triton sees it.",
                    "percentunit",
                    (Query("nv_cpu_utilization", "CPU"),),
                ),
                Panel(
                    "Memory in use",
                    "Of the server's machine, and what it has.",
                    "bytes",
                    (
                        Query("nv_cpu_memory_used_bytes", "used"),
                        Query("nv_cpu_memory_total_bytes", "total"),
                    ),
                ),
            ),
        ),
    ),
)
