# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON may name another interpreter (3.11 or newer); each environment is made once per lock file.

PYTHON ?= python3
SCENARIO ?= tunnel-down
LAB ?= if-possible
VENVS := .venv
DEMO := $(VENVS)/demo
DEV := $(VENVS)/development
MUTATION := $(VENVS)/mutation
TEMPLATE_LINT := $(VENVS)/template-lint
DOCS := $(VENVS)/docs
PIP_FLAGS := --quiet --disable-pip-version-check --require-hashes --only-binary :all:

.DEFAULT_GOAL := help
.PHONY: help demo up test prove mutants browser lab lab-report check templates docs format bench lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(DEMO)/ready ## play an outage on the embedded cloud (SCENARIO=tunnel-down, gray-failure, …)
	@$(DEMO)/bin/python -m infra.local demo $(SCENARIO)

up: $(DEMO)/ready ## keep the embedded cloud running until Ctrl-C
	@$(DEMO)/bin/python -m infra.local up

test: $(DEV)/ready ## the whole test suite
	@$(DEV)/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

prove: $(DEV)/ready templates ## the long proofs: every step x every failure
	@# They play in real time: what a busy machine kept from its end is played once more, alone.
	@timeout --kill-after 30 2700 $(DEV)/bin/python -m pytest -m proof -n 3 --dist load --durations 25 \
	  || timeout --kill-after 30 900 $(DEV)/bin/python -m pytest -m proof -n0 --last-failed --last-failed-no-failures none

mutants: $(MUTATION)/ready ## does a test notice each mutant of what decides? (about an hour; docs/design/0006)
	@rm -rf mutants && $(MUTATION)/bin/mutmut run --max-children 2; $(MUTATION)/bin/mutmut results

browser: $(DEV)/ready ## the console in a headless Chromium (Debian's chromium; BROWSER=required fails without)
	@TWINSPAN_REQUIRE_BROWSER=$(BROWSER) timeout --kill-after 30 600 $(DEV)/bin/python -m pytest -m browser -n0 tests/console

lab: $(DEV)/ready ## the promises over real IPsec and BGP (root, Debian packages; LAB=required fails without)
	@TWINSPAN_LAB=$(LAB) timeout --kill-after 30 900 $(DEV)/bin/python -m pytest -m lab -n0 tests/lab

lab-report: $(DEV)/ready ## break a real tunnel in every way: who noticed, how soon, what it cost
	@$(DEV)/bin/python -m infra.local lab-report

check: $(DEV)/ready ## lint, types, import contracts
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy
	@$(DEV)/bin/lint-imports --no-logo
	@$(DEV)/bin/cfn-lint infra/templates/*.yaml infra/templates/*/*.yaml

templates: $(DEV)/ready $(TEMPLATE_LINT)/ready ## checkov over the templates, parliament over the policies that they render
	@$(TEMPLATE_LINT)/bin/checkov -d infra/templates --config-file infra/linting/checkov.yaml
	@rm -rf .build/policies && $(DEV)/bin/python -m infra.permissions .build/policies
	@$(TEMPLATE_LINT)/bin/python -W ignore infra/linting/policies.py .build/policies

docs: $(DOCS)/ready ## the documentation as a site in .build/site; dead links fail
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --strict

format: $(DEV)/ready ## put the code in order
	@$(DEV)/bin/ruff check --fix .
	@$(DEV)/bin/ruff format .

bench: $(DEV)/ready ## speed, as ratios within one run
	@$(DEV)/bin/python -m bench

lock: $(DEV)/ready ## pin the requirements anew
	@$(PYTHON) -m venv $(VENVS)/lock && $(VENVS)/lock/bin/pip install --quiet uv
	@set -e; for pair in embedded-cloud:"--extra embedded-cloud" development:"--extra embedded-cloud --extra dev" \
	  mutation:"--extra embedded-cloud --extra dev --extra mutation"; do \
	  $(VENVS)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	    --no-emit-index-url --no-annotate --no-header pyproject.toml $${pair#*:} -o requirements/$${pair%%:*}.txt; done
	@set -e; for tool in template-lint docs; do \
	  $(VENVS)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	    --no-emit-index-url --no-annotate --no-header requirements/$$tool.in -o requirements/$$tool.txt; done

clean: ## remove environments and build output
	@rm -rf $(VENVS) .build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(DEMO)/ready: requirements/embedded-cloud.txt
$(DEV)/ready: requirements/development.txt
$(MUTATION)/ready: requirements/mutation.txt
$(TEMPLATE_LINT)/ready: requirements/template-lint.txt
$(DOCS)/ready: requirements/docs.txt

$(VENVS)/%/ready:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Twinspan needs Python 3.11 or newer; set PYTHON=…")'
	@echo "Installing pinned dependencies into $(VENVS)/$* (once) …"
	@rm -rf $(VENVS)/$* && $(PYTHON) -m venv $(VENVS)/$*
	@$(VENVS)/$*/bin/python -m pip install $(PIP_FLAGS) -r $<
	@echo "$(CURDIR)" > $$($(VENVS)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/twinspan.pth
	@printf '#!%s\nfrom infra.cli.app import main\n\nmain()\n' "$(CURDIR)/$(VENVS)/$*/bin/python" > $(VENVS)/$*/bin/twinspan
	@chmod +x $(VENVS)/$*/bin/twinspan
	@touch $@
