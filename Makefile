# Two commands set everything up on a fresh machine with Python >= 3.11: `make demo` and `make test`.
# The first Python on PATH that is new enough; `make PYTHON=…` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && exit; done; echo python3)

LIGHT := .venv
ALL := .venv-all
LIGHT_EXTRAS := cpu,serve,dev
ALL_EXTRAS := cpu,serve,grpc,catalog,local,ml,mlflow,rag,pandas,parquet,postgres,ray,langchain,openai,otel,tiktoken,dev,compat
# what else pytest is told: make test ARGS="-k cli -x"
ARGS ?=

.PHONY: install install-all demo test test-all check bench docs clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

install: ## .venv with the light install, made again only when its inputs change
	@$(PYTHON) .ci/environment.py $(LIGHT) $(LIGHT_EXTRAS)

install-all: ## .venv-all with every extra that runs on a CPU
	@$(PYTHON) .ci/environment.py $(ALL) $(ALL_EXTRAS)

demo: install ## run a real flow with the embedded model: variants, a batch, an evaluation
	$(LIGHT)/bin/python examples/demo.py

test: install ## the suite on the light install
	$(LIGHT)/bin/python -m pytest $(ARGS)

test-all: install-all ## the suite with every extra, slow tests included
	$(ALL)/bin/python -m pytest -m "not gpu and not network" $(ARGS)

check: install ## format, lint, types, floors
	$(LIGHT)/bin/ruff format --check .
	$(LIGHT)/bin/ruff check .
	$(LIGHT)/bin/mypy promptflow serve catalog
	$(LIGHT)/bin/lint-imports

bench: install-all ## every figure, as a ratio against a reference measured in the same run
	$(ALL)/bin/python -m benchmarks.run

docs: install ## write docs/cli.md from the help of pf, docs/openapi.json from the server
	$(LIGHT)/bin/python -m promptflow.cli.reference > docs/cli.md
	$(LIGHT)/bin/python -m serve.api.document > docs/openapi.json

clean: ## remove what was made here
	rm -rf $(LIGHT) $(ALL) .bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
