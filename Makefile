# make demo and make test do all their own set-up in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo up test check bench clean setup containers
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c "from spectral.recurrence.native_library import build_all; build_all()"
	@touch $@

setup: $(READY) ## create .venv with the pinned packages

demo: $(READY) ## start everything, run a real sweep, show its result
	$(BIN)/python -m service.demo --out build/demo

up: $(READY) ## start the service on this machine (data under spectral-home/)
	$(BIN)/spectral up --home spectral-home

test: $(READY) ## all tests
	$(BIN)/python -m pytest

check: $(READY) ## lint, types, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## time the recurrence against torch.nn.RNN and the literal method
	$(BIN)/python -m spectral.bench --out build

containers: ## build the images and run a sweep through docker-compose.yml
	deploy/try-compose

clean: ## remove what the other targets made
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
