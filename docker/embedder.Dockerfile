# The code location, its webserver, its daemon and the exporter. Never built on the machine it was written on (no Docker
# engine).
FROM python:3.11-slim-bookworm

WORKDIR /app
COPY requirements.lock requirements-dev.lock ./
# Kubernetes needs dagster-k8s too. The dev lock only says which version of each goes with the rest.
ARG LIBRARIES=dagster-postgres
RUN pip install --no-cache-dir --requirement requirements.lock \
 && pip install --no-cache-dir --constraint requirements-dev.lock $LIBRARIES
COPY pyproject.toml README.md LICENSE ./
COPY embedder_assets ./embedder_assets
RUN pip install --no-cache-dir --no-deps .
COPY docker/workspace.yaml ./
COPY --chmod=755 docker/with-secrets.sh /usr/local/bin/with-secrets

# New named volumes take over these folders with their owner.
COPY model_repository /models
RUN useradd --uid 10001 --no-create-home embedder \
 && mkdir -p /state/dagster \
 && chown -R embedder /state /models

ENV EMBEDDER_HOME=/state \
    EMBEDDER_CORPUS_DIR=/corpus \
    EMBEDDER_MODEL_REPOSITORY=/models \
    DAGSTER_HOME=/state/dagster \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER embedder
ENTRYPOINT ["with-secrets"]
