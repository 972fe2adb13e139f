# Each target first makes or renews .venv; nothing else is needed than Python 3.11 or later.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready
# Else each of the many processes of the tests would compile torch again where the environment forbids to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test chaos soak fuzz hosts recipes lint bench train screenshots audit sbom licences risks venv lock

venv: $(READY)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --requirements requirements.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Ten studies, scanner to PACS; STUDY=folder adds a real one.
demo: $(READY)
	$(BIN)/ich-triage demo $(if $(STUDY),--study "$(STUDY)")

# A thread for each process, and one process more than cores, since much of the time is waiting for peers. Files are
# shared out in the order of tests/conftest.py.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# The long form of the chaos matrix: every fault several times at each boundary; figures in build/.
chaos: $(READY)
	$(BIN)/pytest tests/chaos/test_every_fault_at_every_boundary.py -m long

# Twenty scanners that abort, repeat and come late, a PACS that comes and goes; plots and figures in build/soak.
soak: $(READY)
	SOAK_MINUTES=$(or $(SOAK_MINUTES),60) $(BIN)/pytest tests/chaos/test_soak.py -m long

# The long form of the fuzz tests: so many requests for each route of the API; 100,000 messages to the receiver, of
# which the last ones are led by coverage.
fuzz: $(READY)
	FUZZ_EXAMPLES=2000 $(BIN)/pytest tests/unit/worklist/test_api_fuzz.py --timeout 1800
	FUZZ_CASES=80000 $(BIN)/pytest tests/integration/test_protocol_fuzz.py --capture=no
	$(BIN)/python -W ignore -m tests.fuzz_by_coverage 20000

# The long form of the test with several hosts: hosts that die or are cut off with work in their hands.
hosts: $(READY)
	$(BIN)/pytest tests/chaos/test_several_hosts.py -m long

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
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header pyproject.toml --group build --constraint requirements.txt --output-file deploy/requirements.txt
