# Two commands matter: `make demo` and `make test`. Both make .venv where it is missing.
# WHEELS=DIR uses ready wheels (llama-cpp-python, torch) from a folder instead of compiling or downloading them.
# BENCH="evaluate --tokenizer DIR" runs one benchmark, with its options (python -m benchmarks --help).
PYTHON ?= python3
WHEELS ?=
PORT ?= 7860
BENCH ?=
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo loop test lint bench clean browser llama-tools llama-tools-for-ci

demo: $(READY)
	$(RUN) scripts/demo.py --port $(PORT)

loop: $(READY)
	$(RUN) scripts/demo.py --no-page

test: $(READY) browser llama-tools-for-ci
	$(RUN) -m pytest

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(READY)
	$(RUN) -m benchmarks $(BENCH)

# The page is tested in Chromium. On a build machine it is installed; elsewhere those tests skip where it is missing.
browser:
	@if [ -n "$$CI" ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; fi

# llama.cpp's converter and tools, which the export is compared with; where they are missing, those tests skip.
llama-tools: $(READY)
	$(RUN) scripts/llama_tools.py

llama-tools-for-ci: $(READY)
	@if [ -n "$$CI" ]; then $(RUN) scripts/llama_tools.py --only quantize,imatrix,perplexity \
		|| echo "the tests against llama.cpp's own tools will skip"; fi

$(READY): scripts/setup_env.py requirements.txt constraints.txt pyproject.toml scripts/llama-core.cmake
	$(PYTHON) scripts/setup_env.py --venv $(VENV) --wheels "$(WHEELS)"

clean:
	rm -rf $(VENV) runs
