# Everything a person types. Each target sets up what it needs; a second call builds nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORPUS ?=

# Two halves side by side: most tests wait for processes that start, and leave a core idle.
# tests/parity has an environment and a target of its own. A shell's `&` ignores SIGINT, which some tests send.
HALF       := tests/chaos tests/fuzz tests/history tests/ui tests/unit tests/integration/orchestration
OTHER_HALF := $(addprefix tests/integration/,operations run serving storage)

.PHONY: run test up check format lock parity bench bench-peers quality quantization rerank-bench sparse-bench telemetry-bench scrape-bench idle-bench million-bench search-bench celery-bench capacity chaos soak fuzz audit sbom clean help

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
	@mkdir -p .embedder
	@echo "running the tests in two halves side by side; the other half is told at the end"
	@env --default-signal=INT $(BIN)/pytest --durations=12 $(OTHER_HALF) > .embedder/pytest.log 2>&1 & beside=$$!; \
	  trap "kill $$beside; exit 130" INT TERM; status=0; \
	  $(BIN)/pytest --durations=12 $(HALF) || status=$$?; \
	  wait $$beside || status=$$?; cat .embedder/pytest.log; exit $$status

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

bench: $(VENV)/.installed-dev  ## Dense, sparse and rerank assets against bare ONNX Runtime loops, over 5000 chunks (or DOCUMENTS=n)
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.asset_throughput.run $(if $(DOCUMENTS),--documents $(DOCUMENTS))

bench-peers: $(VENV)/.installed-dev .venv-peers/.installed  ## The same documents through LlamaIndex, CocoIndex, sentence-transformers, fastembed (DOCUMENTS=n, ROUNDS=n)
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.peers.run $(if $(DOCUMENTS),--documents $(DOCUMENTS)) $(if $(ROUNDS),--rounds $(ROUNDS))
	$(BIN)/python -m benchmarks.peers.idle

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

search-bench: $(VENV)/.installed-dev  ## Warm search over 100,000 chunks (CHUNKS=n), beside the models
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.search_latency.run $(if $(CHUNKS),--chunks $(CHUNKS))

celery-bench: $(VENV)/.installed-dev  ## A backfill on one Celery worker and on two (DOCUMENTS=n in each collection, ROUNDS=n)
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.celery_workers.run $(if $(DOCUMENTS),--documents $(DOCUMENTS)) $(if $(ROUNDS),--rounds $(ROUNDS))

capacity: $(VENV)/.installed  ## What 10 million, a billion and 100 billion chunks cost, calculated from measured figures
	@$(BIN)/python -m benchmarks.capacity.model

chaos: $(VENV)/.installed-dev  ## Break the system on purpose 50 times (or FAULTS=n), at moments of a seed (or SEED=n)
	@$(BIN)/embedder models build
	$(BIN)/python -m tests.chaos.run --faults $(or $(FAULTS),50) $(if $(SEED),--seed $(SEED)) $(if $(LOG),--log $(LOG))

soak: $(VENV)/.installed-dev  ## A random history of 200 steps (NAME=history; STEPS=n), by a seed (SEED=n), held against rebuilds
	@$(BIN)/embedder models build
	$(BIN)/python -m tests.$(or $(NAME),history).run --steps $(or $(STEPS),200) $(if $(SEED),--seed $(SEED)) $(if $(LOG),--log $(LOG))

fuzz: $(VENV)/.installed-dev  ## 10,000 damaged documents (or N=n), by a seed (or SEED=n), through extraction and cutting
	$(BIN)/python -m tests.fuzz.run --documents $(or $(N),10000) --seed $(or $(SEED),1) $(if $(KEEP),--keep $(KEEP))

idle-bench: $(VENV)/.installed-dev  ## A run with nothing to do against a Dagster run of as many empty assets
	@$(BIN)/embedder models build
	$(BIN)/python -m benchmarks.idle_run.run

audit: .venv-supply/.installed  ## Known vulnerabilities of what the lock files pin; fails where the database does not answer
	.venv-supply/bin/python .ci/audit.py

sbom: .venv-supply/.installed  ## The bill of materials of requirements.lock, build/sbom.cdx.json (CycloneDX)
	@mkdir -p build
	@PYTHONWARNINGS=ignore .venv-supply/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --output-file build/sbom.cdx.json
	.venv-supply/bin/python .ci/sbom.py build/sbom.cdx.json requirements.lock

lock:            ## Resolve the dependencies anew into requirements*.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	@sed -i "s/ ; python_full_version < '3.13'$$//; s/ ; python_full_version < '3.13' and / ; /" requirements*.lock

clean:           ## Remove the environment, the built models and the state of ./.embedder
	rm -rf $(VENV) .venv-parity .venv-supply .venv-peers build .embedder model_repository/*/build.json

.venv-parity/.installed: requirements-parity.txt
	@$(PYTHON) -m venv .venv-parity
	@.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt
	@touch $@

.venv-supply/.installed: requirements-supply.txt
	@$(PYTHON) -m venv .venv-supply
	@.venv-supply/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-supply.txt
	@touch $@

# One package at a time: a peer that cannot be installed is named in the results, and the others run.
.venv-peers/.installed: requirements-peers.txt
	@$(PYTHON) -m venv .venv-peers
	@grep -v '^#' requirements-peers.txt | while read -r package; do \
	  .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c requirements-peers.txt "$$package" \
	    || echo "$$package cannot be installed"; done
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
