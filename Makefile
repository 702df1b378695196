# Everything a person types. Each target sets up what it needs; a second call builds nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORPUS ?=

.PHONY: run test up check format lock parity bench quality quantization rerank-bench sparse-bench telemetry-bench scrape-bench idle-bench million-bench chaos clean help

help:            ## Say what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

run: $(VENV)/.installed  ## Set up, build the models, run the main job on the sample corpus (or CORPUS=dir)
	@$(BIN)/embedder models build
	@$(BIN)/embedder run $(if $(CORPUS),--corpus "$(CORPUS)")

up: $(VENV)/.installed  ## Run Triton, exporter, Dagster webserver and daemon until Ctrl-C
	@$(BIN)/embedder models build
	@exec $(BIN)/embedder up

test: $(VENV)/.installed-dev  ## Set up what the tests need and run them
	@$(BIN)/embedder models build
	$(BIN)/pytest

check: $(VENV)/.installed-dev  ## Format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

parity: .venv-parity/.installed  ## The graphs that are written without torch, held against torch (in an environment of its own)
	.venv-parity/bin/python -m pytest tests/parity

bench: $(VENV)/.installed-dev  ## Dense throughput of the asset against a bare ONNX Runtime loop
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.dense_throughput.run

quality: $(VENV)/.installed-dev  ## nDCG@10 of every stage on the four judged collections
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.retrieval_quality.run

quantization: $(VENV)/.installed-dev  ## What int8 costs in cosine and nDCG@10
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.quantization.run

rerank-bench: $(VENV)/.installed-dev  ## Pairs a second of the reranker through Triton
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.rerank_throughput.run

sparse-bench: $(VENV)/.installed .venv-parity/.installed  ## The sparse graph against the plain forward of transformers
	@$(BIN)/embedder models build
	.venv-parity/bin/python -m benchmarks.sparse_throughput.run

telemetry-bench: $(VENV)/.installed-dev  ## What telemetry costs the dense stage
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.telemetry_cost.run

scrape-bench: $(VENV)/.installed-dev  ## A scrape of the exporter with a year of daily runs in the log
	$(BIN)/python -m benchmarks.scrape_time.run

million-bench: $(VENV)/.installed-dev  ## Memory and rate over a million chunks (or CHUNKS=n), with models that compute next to nothing
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.million_chunks.run $(if $(CHUNKS),--chunks $(CHUNKS))

chaos: $(VENV)/.installed-dev  ## Break the system on purpose 50 times (or FAULTS=n), at moments of a seed (or SEED=n)
	@$(BIN)/embedder models build
	$(BIN)/python -m tests.chaos.run --faults $(or $(FAULTS),50) $(if $(SEED),--seed $(SEED)) $(if $(LOG),--log $(LOG))

idle-bench: $(VENV)/.installed-dev  ## A run with nothing to do against a Dagster run of as many empty assets
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.idle_run.run

lock:            ## Resolve the dependencies anew into requirements*.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	@sed -i "s/ ; python_full_version < '3.13'$$//; s/ ; python_full_version < '3.13' and / ; /" requirements*.lock

clean:           ## Remove the environment, the built models and the state of ./.embedder
	rm -rf $(VENV) .venv-parity .embedder model_repository/*/build.json

.venv-parity/.installed: requirements-parity.txt
	@$(PYTHON) -m venv .venv-parity
	@.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 12) else \
	  f"embedder-assets needs Python 3.11 or 3.12, and {sys.executable} is {v[0]}.{v[1]}: use make PYTHON=python3.11 …")'
	@echo "creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "installing (about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@
