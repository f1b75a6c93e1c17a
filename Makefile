# make demo and make test do all their own set-up in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# the documentation as a site, which the service shows under /manual/, and what it is made from
MANUAL := build/site/index.html
TOLD_IN_IT := mkdocs.yml $(shell find docs service workers spectral -type f -not -name '*.pyc' 2> /dev/null)
# one more than there are cores: many tests of the service wait for processes and timers
PARALLEL := --numprocesses $(shell expr $$(nproc) + 1) --maxprocesses 8 --dist loadgroup
# the tests of what runs on vector instructions, without the backends that do not
ON_THE_PROCESSOR := tests/spectral/recurrence tests/spectral/test_rnn.py tests/spectral/test_gated.py \
	tests/spectral/test_pack.py tests/spectral/test_svd.py tests/spectral/test_recurrent_precision.py \
	tests/workers/training tests/workers/models -k "not triton and not torch_loop and not cudnn"
TYPESCRIPT := typescript@5.9.3
LIKE_AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 SPECTRAL_NATIVE_ISA=avx2

# .venv has all that the targets need; only bench-gpu uses another Python, which may find torch by PYTHONPATH
ifneq ($(MAKECMDGOALS),bench-gpu)
unexport PYTHONHOME PYTHONPATH
endif
# uv installs no bytecode: where Python may not keep it, every process compiles torch and MLflow from source again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test test-fast test-avx2 fuzz schemathesis faults simulate check check-page page-types blocking-client vendor fix paper results bench bench-cpu bench-check bench-service bench-load bench-tick bench-estimates bench-refill bench-search \
	bench-gpu clean setup lock docs wheel containers
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml requirements.lock deploy/dependencies.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Installing the packages of requirements.lock into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python deploy/dependencies.py install
	@$(BIN)/python -c "from spectral.cpu.library import build_all; build_all()"
	@touch $@

$(MANUAL): $(READY) deploy/manual.py $(TOLD_IN_IT)
	@echo "Building the manual"
	@# the service starts without it
	@$(BIN)/python deploy/manual.py || echo "The manual was not built; make docs says why."

setup: $(READY) $(MANUAL) ## create .venv with the pinned packages, and build the manual

demo: $(MANUAL) ## start everything, run a real sweep, show its result
	$(BIN)/spectral demo --out build/demo

up: $(MANUAL) ## start the service on this machine (data under spectral-home/)
	$(BIN)/spectral up --home spectral-home

test: $(READY) ## all tests: several side by side, then those that start a whole service
	$(BIN)/python -m pytest $(PARALLEL) --durations=20 -m "not starts_ray"
	$(BIN)/python -m pytest --durations=20 -m starts_ray

test-fast: $(READY) ## the tests that are not slow: no whole service, no Ray, no long law suites (under two minutes)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

simulate: $(READY) ## schedules of faults through the controller in virtual time (SCHEDULES=10000 SEED=0)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation --schedules $(or $(SCHEDULES),1000) --seed $(or $(SEED),0) $(ARGS)

test-avx2: $(READY) ## what depends on the processor, as on one without AVX-512
	@case "$$(uname -m)" in \
	x86_64) $(LIKE_AVX2) $(BIN)/python -m pytest $(PARALLEL) $(ON_THE_PROCESSOR) $(ARGS) ;; \
	*) echo "Skipped: this processor is not an x86-64 one, so it has no AVX2 to be tested with." ;; \
	esac

fuzz: $(READY) ## the readers of data files on wrong and hostile ones (ten minutes each; SECONDS=60 for less)
	SPECTRAL_FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest $(PARALLEL) tests/workers/tasks/test_readers_fuzz.py $(ARGS)

schemathesis: $(READY) ## random calls against the OpenAPI schema of a running service (URL=http://127.0.0.1:8000)
	$(BIN)/uvx schemathesis run $(or $(URL),http://127.0.0.1:8000)/openapi.json --exclude-path-regex events \
	--checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance $(ARGS)

faults: $(READY) ## kill, freeze, cut off and fill up a running service: SCHEDULES=20 SEED=0 DATABASE=both ONLY="kill api"
	$(BIN)/python -m tests.faults --schedules $(or $(SCHEDULES),20) --seed $(or $(SEED),0) --database $(or $(DATABASE),both) \
		$(if $(ONLY),--only "$(ONLY)") $(ARGS)

check: $(READY) ## lint, types, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory check-page
	@! git grep -nE '^(<{7}|>{7}) ' || { echo "These lines are left from a merge."; exit 1; }

check-page: $(READY) ## the types of the page's scripts, where node and the type checker can be had
	$(BIN)/python deploy/page_types.py --check
	@if ! command -v npx > /dev/null; then echo "Skipped: the types of the page's scripts, which need node (npx)."; \
	elif ! npx --yes --package $(TYPESCRIPT) tsc --version > /dev/null 2>&1; then echo "Skipped: the types of the page's scripts; npx cannot fetch $(TYPESCRIPT)."; \
	else npx --yes --package $(TYPESCRIPT) tsc --project service/api/page; fi

page-types: $(READY) ## write the types of the API's documents for the page's scripts
	$(BIN)/python deploy/page_types.py

blocking-client: $(READY) ## write the blocking client from the asynchronous one
	$(BIN)/python deploy/blocking_client.py

vendor: $(READY) ## fetch the page's libraries again, as their manifest says
	$(BIN)/python deploy/vendor_page.py $(ARGS)

fix: $(READY) ## repair what lint can repair, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

paper: $(READY) ## the study: every claim as sweeps through the service, then docs/results.md (an hour; ARGS="--only mlp")
	$(BIN)/python -m study $(ARGS)

results: $(READY) ## docs/results.md again from the study's records, nothing is run
	$(BIN)/python -m study --render $(ARGS)

bench: $(READY) ## P1-P5, P7: the recurrence and packs against torch.nn.RNN and the literal method (about twenty minutes)
	$(BIN)/python -m benchmarks.recurrence
	$(BIN)/python -m benchmarks.packs --trust --profile
	$(BIN)/python -m benchmarks.step

bench-cpu: $(READY) ## P1-P5 on AVX-512 and with AVX2 alone, into docs/ (half an hour; a machine that does nothing else)
	$(BIN)/python -m benchmarks.instruction_sets --write docs $(ARGS)

bench-check: $(READY) ## fails if P1 is slower than the committed figures by more than 15 % (two minutes)
	$(BIN)/python -m benchmarks.check $(ARGS)

bench-service: $(READY) ## P6: a whole sweep through the service and through Ray Tune (half an hour)
	$(BIN)/python -m benchmarks.service

bench-load: $(READY) ## L1-L6: the API over a full database, with up to 1,000 clients (ten minutes for each database)
	$(BIN)/python -m benchmarks.load --database postgresql --workers 2 $(ARGS)
	$(BIN)/python -m benchmarks.load --database sqlite --workers 1 $(ARGS)

bench-refill: $(READY) ## R1: a sweep with early stopping, with and without refilled packs (ten minutes)
	$(BIN)/python -m benchmarks.refill $(ARGS)

bench-tick: $(READY) ## T1-T5, Q1-Q3: a tick of the controller while 400 sweeps wait, its memory, and a decision of the queue (ten minutes)
	$(BIN)/python -m benchmarks.tick
	$(BIN)/python -m benchmarks.queue

bench-estimates: $(READY) ## E1-E3: dry runs of ten sweeps against the sweeps themselves (a quarter of an hour)
	$(BIN)/python -m benchmarks.estimates $(ARGS)

bench-search: $(READY) ## S1: TPE with ASHA against a full grid (an hour)
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-gpu: ## G1-G4 on a CUDA device (G1-G3 with torch, triton and numpy alone); without one, the law check in the interpreter
	@if $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		if $(PYTHON) -c 'import pydantic' 2> /dev/null; then $(PYTHON) -m benchmarks.gpu_trainer || exit 1; \
		else echo "G4 is left out: it needs the extra [train]"; fi; \
		$(PYTHON) -m benchmarks.gpu $(ARGS); \
	else TRITON_INTERPRET=1 $(PYTHON) -m benchmarks.gpu; fi

docs: $(READY) ## the documentation as a site, in build/site; the service shows it under /manual/
	$(BIN)/python deploy/manual.py
	@echo "Open build/site/index.html, or /manual/ of a running service"

wheel: $(READY) ## a wheel with the manual in it, in build/wheel
	$(BIN)/python deploy/manual.py
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .

lock: $(READY) ## requirements.lock again from pyproject.toml (newest versions: ARGS=--upgrade)
	$(BIN)/python deploy/dependencies.py lock $(ARGS)

containers: ## build the images and run a sweep through docker-compose.yml
	deploy/try-compose

clean: ## remove what the other targets made
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
