# Every target makes what it needs; `make report` or `make test` is all that has to be typed after a clone.
# JOBS processes of one thread each run the tests; the report takes all cores, or `--jobs` of codec_lib.report.
# A run of `make train` has as many threads as its card tells, and goes on where an earlier call was interrupted.

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
STAMP  := $(VENV)/.complete
BIN    := $(VENV)/bin
LONGEST := notebooks/05_evaluation.ipynb
LESSONS := $(LONGEST) $(filter-out $(LONGEST),$(wildcard notebooks/*.ipynb))
# The environment's programs first on PATH: torchac calls ninja by name, JupyterLab its helpers.
RUN    := PATH="$(CURDIR)/$(BIN):$$PATH"
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help install report test fuzz train browser lab lint clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make the environment alone, .venv, with the command codecbook in it

report: $(STAMP) ## execute the report's notebooks, rebuild figures/ and write build/report/*.html
	@echo "report: executing the notebooks into build/report/"
	@$(RUN) $(BIN)/python -m codec_lib.report

test: $(STAMP) ## run the tests of the package, and execute the notebooks and compare their output
	@echo "test: the notebooks (notebooks/, by nbval), the longest first, and the package (tests/)"
	@$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	    --nbval --nbval-current-env --nbval-cell-timeout 1800 $(LESSONS) tests

fuzz: $(STAMP) ## damage and forge 100,000 files and count what becomes of them; CASES and SEED choose others
	@$(RUN) OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --cases $(or $(CASES),100000) --seed $(or $(SEED),0)

train: $(STAMP) ## repeat the runs behind data/weights; MINUTES=60 stops then, NAMES="..." chooses weights
	@$(RUN) $(BIN)/python -m codec_lib.training.recipe $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NAMES),--names $(NAMES))

browser: $(STAMP) ## run the notebooks in JupyterLab and Chromium, move every widget, take screenshots; NOTEBOOKS="07 03"
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	    { echo "error: no Chromium here; on Debian: apt install chromium chromium-driver" >&2; exit 1; }
	@$(PIP) install "selenium==4.51.0"
	@$(RUN) $(BIN)/python tests/browser.py $(NOTEBOOKS)

lab: $(STAMP) ## open JupyterLab on notebooks/
	@$(RUN) $(BIN)/python -m jupyterlab --notebook-dir notebooks

lint: $(STAMP) ## check style and formatting of the package, the tests and the notebooks
	@$(RUN) $(BIN)/python -m ruff check codec_lib tests notebooks setup.py
	@$(RUN) $(BIN)/python -m ruff format --check codec_lib tests notebooks setup.py

clean: ## remove build/ and caches; keeps the environment and trained runs
	rm -rf build codecbook.egg-info .pytest_cache .ruff_cache .hypothesis
	find codec_lib tests notebooks -depth \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

distclean: clean ## remove the environment (.venv) as well
	rm -rf $(VENV)

# The stamp is touched last, so an interrupted installation is taken up again by the next call.  An environment
# that works is kept, whatever Python it was made with; `make distclean` first to change that.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $@
	@if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    fail() { echo "error: $$1" >&2; exit 1; }; \
	    command -v "$(PYTHON)" >/dev/null || \
	        fail "no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; \
	    "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	        fail "$$("$(PYTHON)" --version 2>&1) is too old; Codecbook needs 3.11 or newer: make PYTHON=/path/to/python3"; \
	    "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	        fail "$(PYTHON) cannot make environments; on Debian: apt install python3-venv"; \
	    echo "environment: creating $(VENV) with $$("$(PYTHON)" --version)"; \
	    "$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@echo "environment: installing requirements.lock (some minutes the first time)"
	@$(PIP) install -r requirements.lock
	@echo "environment: installing codec_lib in place"
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
