# Each target first makes or renews .venv; nothing else is needed than Python 3.11 or later.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test chaos fuzz recipes lint bench train screenshots audit sbom licences risks venv lock

venv: $(READY)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes --requirements requirements.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Ten studies, scanner to PACS; STUDY=folder adds a real one.
demo: $(READY)
	$(BIN)/ich-triage demo $(if $(STUDY),--study "$(STUDY)")

# A thread for each process, and one process more than cores, since much of the time is waiting for peers. Files are
# shared out in the order of tests/conftest.py.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# The long form of the chaos tests: more deaths at each boundary.
chaos: $(READY)
	$(BIN)/pytest tests/chaos -m long

# The long form of the API's fuzz test: so many requests for each route.
fuzz: $(READY)
	FUZZ_EXAMPLES=2000 $(BIN)/pytest tests/unit/worklist/test_api_fuzz.py --timeout 1800

# The long form of the recipes' tests: every published network.
recipes: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/unit/train/test_runs.py -m long

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The same work beside its peers; figures worth keeping go to bench/LOG.md.
bench: $(READY)
	$(BIN)/python -m bench

# The package that ships with the product, from nothing.
train: $(READY)
	$(BIN)/python -m train embedded --out ich_triage/model/embedded --log train/LOG.md

# The pictures of docs/worklist.md: every page and state, in a real Chromium.
screenshots: $(READY)
	$(BIN)/python -m tests.browser.screenshots

# Known weaknesses of what is pinned: fails for one, and says so where the service that knows them is out of reach.
audit: $(READY)
	$(BIN)/python -m supply.audit

# build/sbom.json: the bill of materials, CycloneDX.
sbom: $(READY)
	$(BIN)/python -m supply.sbom

# docs/licences.md, after a change of dependencies.
licences: $(READY)
	$(BIN)/python -m supply.licences

# Every test that verifies a measure of docs/risk/risks.md.
risks: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile -m "risk and not long"

# After a change of dependencies: pins and hashes, and no host in it.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header pyproject.toml --extra train --group dev --output-file requirements.txt
