# Two commands set everything up on a fresh machine with Python >= 3.11: `make demo` and `make test`.
PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
INPUTS := pyproject.toml Makefile
HASH := $(shell cat $(INPUTS) | $(PYTHON) -c "import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read() + sys.version.encode()).hexdigest()[:16])")

LIGHT := .venv
ALL := .venv-all
LIGHT_EXTRAS := cpu,dev
ALL_EXTRAS := cpu,pandas,parquet,postgres,langchain,openai,otel,tiktoken,dev,compat

.PHONY: install install-all demo test test-all check bench docs clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(LIGHT)/.inputs-$(HASH) ## .venv with the light install
install-all: $(ALL)/.inputs-$(HASH) ## .venv-all with every extra that runs on a CPU

# The stamp's name is the hash of what the environment is made from: it is made again only when that changes.
$(LIGHT)/.inputs-$(HASH):
	rm -rf $(LIGHT)
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install $(PIP_FLAGS) -e ".[$(LIGHT_EXTRAS)]"
	touch $@

$(ALL)/.inputs-$(HASH):
	rm -rf $(ALL)
	$(PYTHON) -m venv $(ALL)
	$(ALL)/bin/pip install $(PIP_FLAGS) -e ".[$(ALL_EXTRAS)]"
	touch $@

demo: install ## run a real flow with the embedded model: variants, a batch, an evaluation
	$(LIGHT)/bin/python examples/demo.py

test: install ## the suite on the light install
	$(LIGHT)/bin/python -m pytest

test-all: install-all ## the suite with every extra, slow tests included
	$(ALL)/bin/python -m pytest -m "not gpu and not network"

check: install ## format, lint, types, floors
	$(LIGHT)/bin/ruff format --check .
	$(LIGHT)/bin/ruff check .
	$(LIGHT)/bin/mypy promptflow serve
	$(LIGHT)/bin/lint-imports

bench: install-all ## every figure, as a ratio against a reference measured in the same run
	$(ALL)/bin/python -m benchmarks.run

docs: install ## write docs/cli.md and the JSON Schema of flow files again
	$(LIGHT)/bin/python -m docs.generate

clean:
	rm -rf $(LIGHT) $(ALL) .bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache
