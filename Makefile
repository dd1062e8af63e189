# Everything a user or developer runs. `make demo` and `make test` install what they need.
PYTHON ?= python3
PREFIX ?= /usr/local
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

FUZZ_SECONDS ?= 600
LONG_SEEDS ?= 0-199

.PHONY: help demo test long check fuzz bench format install uninstall clean
help:
	@echo "make demo      a tour on loop-mounted btrfs file systems (root)"
	@echo "make test      all tests, on real btrfs (root)"
	@echo "make long      compare the receivers over LONG_SEEDS histories (root, hours)"
	@echo "make check     lint, types, layers"
	@echo "make fuzz      look for inputs that break the parsers, FUZZ_SECONDS each"
	@echo "make bench     side-by-side benchmarks (root)"
	@echo "make install   install for all users below PREFIX ($(PREFIX))"
	@echo "make uninstall take that back"

$(READY): pyproject.toml constraints.txt scripts/setup
	scripts/setup $(PYTHON) $(VENV)
	@touch $@

demo: $(READY)
	@scripts/need-btrfs "make demo"
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/tour

test: $(READY)
	@scripts/need-btrfs "make test"
	$(BIN)/coverage erase
	BUTTERSINK_REQUIRE_KERNEL=1 $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

long: $(READY)
	@scripts/need-btrfs "make long"
	cd tests && ../$(BIN)/python -m long.receiver_equality --seeds $(LONG_SEEDS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(READY)
	@for target in applier guard meter wire; do \
	  PYTHONPATH=tests $(BIN)/python -m fuzz $$target .fuzz/$$target \
	    -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

format: $(READY)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY)
	@scripts/need-btrfs "make bench"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench

install:
	scripts/install $(PYTHON) $(PREFIX)

uninstall:
	rm -rf $(PREFIX)/lib/buttersink
	rm -f $(PREFIX)/bin/buttersink $(PREFIX)/bin/btrfslist $(PREFIX)/bin/checksumdir

clean:
	rm -rf $(VENV) .coverage* .hypothesis .mypy_cache .ruff_cache .import_linter_cache .fuzz dist build
