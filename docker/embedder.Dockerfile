# The code location, its webserver and its daemon. Never built on the machine it was written on (no Docker engine).
FROM python:3.11-slim

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
COPY pyproject.toml README.md LICENSE workspace.yaml ./
COPY embedder_assets ./embedder_assets
RUN pip install --no-cache-dir --no-deps .

# New named volumes take over these folders with their owner.
COPY model_repository /models
RUN useradd --uid 10001 --no-create-home embedder \
 && mkdir -p /state/dagster \
 && printf 'telemetry:\n  enabled: false\n' > /state/dagster/dagster.yaml \
 && chown -R embedder /state /models

ENV EMBEDDER_HOME=/state \
    EMBEDDER_CORPUS_DIR=/corpus \
    EMBEDDER_MODEL_REPOSITORY=/models \
    DAGSTER_HOME=/state/dagster \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER embedder
