# make demo   retrieves from a small PACS that it starts, and shows what came of it
# make test   runs the tests
# make check  ruff, mypy, import rules
# make soak   breaks it at random in everything that it needs, for a long list, and checks what is promised
# make bench  measures it beside the bare tools, which DCM4CHE_BIN names, or the embedded ones
# make schemas  writes the JSON Schemas of the settings anew

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check soak bench schemas clean

demo: $(VENV)/run.done
	$(BIN)/python -m demo.run

# On a busy machine pynetdicom 3.0.4, which plays the PACS, loses a message now and then: one more try tells.
test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 4 --dist loadfile --reruns 1

check: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py

soak: $(VENV)/dev.done
	$(BIN)/python -m tests.faults.soak

bench: $(VENV)/dev.done
	$(BIN)/python -m benchmarks.run

schemas: $(VENV)/run.done
	$(BIN)/python -m niffler.schemas

clean:
	rm -rf $(VENV) demo/work .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/run.done: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev.done: requirements-dev.txt $(VENV)/run.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
