# make book    run every chapter headless; make test  run all tests. Both set up .venv.
# make test-browser  use a chapter's widgets in JupyterLab as a reader does.
# One chapter, other values: make book ONLY=05 SET="beta=0.2 seeds=[0, 1]" PRESET=gpu
# Chapters in which nothing has changed are not run again, but for AGAIN=1.

PYTHON ?= python3
PRESET ?= laptop
ONLY   ?=
SET    ?=
AGAIN  ?=
READ   ?=
LAB    ?=

BIN    := .venv/bin
READY  := .venv/ready
COPIES := build/test/nbval
CHROME := chromium chromium-browser google-chrome
# The shell gets values by name, and so as they were typed, with spaces and quotes.
export PRESET ONLY SET
BOOK    = $(BIN)/python -m pudm_lib book --preset "$$PRESET" \
          $(if $(ONLY),--only "$$ONLY") $(if $(SET),--set "$$SET") \
          $(if $(AGAIN),--again)

.PHONY: book figures test test-browser lab edit lint pair clean

# make tells the book to stop only by SIGTERM; for Ctrl-C it deletes what it was making,
# this file, and the book looks if it is there.
RUNNING := build/.make-$(shell echo $$PPID-$$(date +%s))

figures: BOOK += --publish
book figures: $(RUNNING)

$(RUNNING): $(READY)
	@mkdir -p $(@D) && touch $@
	@PUDM_WHILE=$@ exec $(BOOK)

# Tests keep their models and figures under build/test, one thread a process, one after
# another: side by side they would need more than 3 GiB. nbval has a run of its own: it
# would be silent about finding nothing beside other tests.
test test-browser: export OMP_NUM_THREADS = 1
test test-browser: export PUDM_HEADLESS = 1
test test-browser: export PUDM_RUNS = $(CURDIR)/build/test/runs
test test-browser: export PUDM_FIGURES = $(CURDIR)/build/test/figures
test: $(READY)
	$(BIN)/python -m pytest
	$(BIN)/python -c "from pudm_lib.book.runner import nbval_copies; nbval_copies('$(COPIES)')"
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -q \
	    $(COPIES)
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=300 -q \
	    tests/golden

# Debian's chromium where there is no browser of its kind yet. Pictures of what was seen
# are left in build/browser.
test-browser: $(READY)
	@for name in $(CHROME); do command -v $$name >/dev/null && exit 0; done; \
	    echo "installing Debian's package chromium"; \
	    root=$$(test "$$(id -u)" = 0 || echo sudo); \
	    { $$root apt-get update -qq && $$root apt-get install -qq -y \
	        --no-install-recommends chromium >/dev/null; } || { \
	    echo "error: no $(CHROME), and chromium could not be installed by" \
	         "apt-get; install one of them and try again" >&2; exit 1; }
	$(BIN)/python -m pytest tests/browser

# Copies for a reader, in build/lab or READ, kept from one start to the next; LAB is for
# JupyterLab, such as LAB=--no-browser. Authors open the sources.
lab: $(READY)
	$(BIN)/python -m pudm_lib.book.lab $(if $(READ),--read '$(READ)') $(LAB)

edit: $(READY)
	$(BIN)/python -m pudm_lib.book.lab --edit $(LAB)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/test_rooms.py

# From the .py to the .ipynb and never back: file times say nothing after a checkout.
# --update keeps the cells' ids, and also the outputs, which are not committed.
pair: $(READY)
	$(BIN)/jupytext --to ipynb --update notebooks/[0-9][0-9]_*.py
	$(BIN)/jupyter nbconvert --clear-output --inplace notebooks/[0-9][0-9]_*.ipynb

# Not what a reader has written.
clean:
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name lab -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: the book needs Python 3.11 or newer as $(PYTHON); choose another:" \
	         "make book PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version), a few minutes the first time"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check \
	    --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check \
	    --no-deps --no-build-isolation -e .
	@touch $(READY)
