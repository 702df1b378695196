# Everything a person types. Each target sets up what it needs; a second call builds nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORPUS ?=

# Three workers on two cores: most tests wait for processes that start. A file stays on one worker, which shares its
# servers; the longest come first. tests/parity has an environment and a target of its own.
TESTS := tests/chaos tests/history tests/ui tests/integration tests/fuzz tests/unit
WORKERS ?= 3

# What `make bench` and `make soak` know by NAME: folders with a run.py, whose first line is the sentence of the list.
BENCHMARKS := $(patsubst benchmarks/%/run.py,%,$(wildcard benchmarks/*/run.py))
SOAKS      := $(patsubst tests/%/run.py,%,$(wildcard tests/*/run.py))
BENCHMARK  := $(filter $(NAME),$(BENCHMARKS))
SOAK       := $(filter $(NAME),$(SOAKS))
option      = $(if $($(1)),--$(2) $($(1)))
list        = @echo "make $@ NAME=…, which is one of"; for name in $(2); do \
  printf '  %-20s %s\n' $$name "$$(sed -n '1s/"""//gp' $(1)/$$name/run.py)"; done; exit 2

peers_needs              := .venv-peers/.installed
readers_needs            := .venv-readers/.installed
sparse_throughput_needs  := .venv-parity/.installed
sparse_throughput_python := .venv-parity/bin/python

.PHONY: run test up check format lock parity bench soak audit sbom clean help

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
	@$(BIN)/python -m tests.support.model_repositories
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=12 $(TESTS)

check: $(VENV)/.installed-dev  ## Format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

parity: .venv-parity/.installed  ## The graphs that are written without torch, compared with torch (in an environment of its own)
	.venv-parity/bin/python -m pytest tests/parity

bench: $(if $(BENCHMARK),$(VENV)/.installed-dev $($(BENCHMARK)_needs))  ## One benchmark (NAME=…); without a name, the list
ifdef BENCHMARK
	$(if $(filter capacity scrape_time,$(BENCHMARK)),,@$(BIN)/embedder models build)
	$(strip $(or $($(BENCHMARK)_python),$(BIN)/python) -m benchmarks.$(BENCHMARK).run \
	  $(call option,DOCUMENTS,documents) $(call option,ROUNDS,rounds) $(call option,CHUNKS,chunks))
	$(if $(filter peers,$(BENCHMARK)),$(BIN)/python -m benchmarks.peers.idle)
else
	$(call list,benchmarks,$(BENCHMARKS))
endif

soak: $(if $(SOAK),$(VENV)/.installed-dev)  ## One long random test (NAME=…), by a seed (SEED=n); without a name, the list
ifdef SOAK
	$(if $(filter fuzz,$(SOAK)),,@$(BIN)/embedder models build)
	$(strip $(BIN)/python -m tests.$(SOAK).run $(call option,FAULTS,faults) $(call option,STEPS,steps) $(call option,N,documents) \
	  $(call option,SEED,seed) $(call option,KINDS,kinds) $(call option,LOG,log) $(call option,KEEP,keep))
else
	$(call list,tests,$(SOAKS))
endif

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
	rm -rf $(VENV) .venv-parity .venv-supply .venv-peers .venv-readers build .embedder model_repository/*/build.json

.venv-parity/.installed: requirements-parity.txt
	@$(PYTHON) -m venv .venv-parity
	@.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt
	@touch $@

.venv-supply/.installed: requirements-supply.txt
	@$(PYTHON) -m venv .venv-supply
	@.venv-supply/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-supply.txt
	@touch $@

# One package at a time: a peer that cannot be installed is named in the results, and the others run.
.venv-peers/.installed .venv-readers/.installed: .venv-%/.installed: requirements-%.txt
	@$(PYTHON) -m venv .venv-$*
	@grep -v '^#' $< | while read -r package; do \
	  .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c $< "$$package" \
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
