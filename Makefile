# Everything runs in an environment of its own; only Python >= 3.11 and make are needed beforehand.
PYTHON ?= python3
VENV ?= .venv
# Of the demo: its images, weights and order.
SEED ?= 0
BIN := $(VENV)/bin
# One thread: more of them gain little on two cores, and two such processes side by side slow each other down.
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test check docs format clean

help:
	@echo "make demo     draw a small set, train the supervised control and Soft Teacher on it, compare them"
	@echo "make test     check and test everything"
	@echo "make check    format, lint, types, which way imports point, and the documentation"
	@echo "make docs     build the documentation into site/; any warning is an error"
	@echo "make format   let the formatter change the files"
	@echo "make clean    delete the environment, the site and the demo's runs"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'softdet needs Python 3.11 or newer; run: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: install
	$(BIN)/softdet prepare synthetic --out runs/demo/data --seed $(SEED)
	$(BIN)/softdet train --config configs/tiny.yaml --overwrite params.random_seed=$(SEED) \
		--supervised model.exp_path=runs/demo/supervised
	$(BIN)/softdet train --config configs/tiny.yaml --overwrite params.random_seed=$(SEED)
	$(BIN)/softdet compare runs/demo/supervised runs/demo/soft_teacher

check: install docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_floors.py tests/test_docs.py

# Not --quiet, which would hush the warnings and so let them pass. The variable stills an announcement, see docs/decisions.md.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: check
	$(BIN)/python -m pytest

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs/demo site
