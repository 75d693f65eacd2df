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

.PHONY: demo loop test load soak kills sweep lint bench clean browser llama-tools llama-tools-for-ci

demo: $(READY)
	$(RUN) scripts/demo.py --port $(PORT)

loop: $(READY)
	$(RUN) scripts/demo.py --no-page

test: $(READY) browser llama-tools-for-ci
	$(RUN) -m pytest

# Fifty visitors for three minutes, and for thirty: what they saw is printed.
soak load: $(READY)
	$(RUN) -m pytest tests/test_load.py -m $@ -s

# Every step killed twenty times at random moments, and compared with an undisturbed run; about an hour on two cores.
kills: $(READY)
	$(RUN) -m tests.kills

# The second configuration's claims, varied one at a time on the tiny model of `make loop`.
sweep: $(READY)
	$(RUN) scripts/sweep.py

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# Export and serving are compared with llama.cpp's own tools: they are built where they are missing and asked for.
bench: $(READY)
	@[ -n "$${FOOTNOTE_LLAMA_CPP}$(if $(filter evaluate data train,$(BENCH)),$(if $(filter export serve,$(BENCH)),,without))" ] \
		|| $(RUN) scripts/llama_tools.py --only quantize,server,bench
	$(RUN) -m benchmarks $(BENCH)

# The page is tested in Chromium. On a build machine it is installed; elsewhere those tests skip where it is missing.
browser:
	@if [ -n "$$CI" ] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; fi

# llama.cpp's converter and tools, which the export is compared with; where they are missing, those tests skip.
llama-tools: $(READY)
	$(RUN) scripts/llama_tools.py

# On a build machine: 4.7 min on two quiet cores (551 s of processor time; llama-cli and llama-server, which share the
# server's parts and mtmd, are 1.5 of them), and seconds where the user's cache has them.
llama-tools-for-ci: $(READY)
	@if [ -n "$$CI" ]; then $(RUN) scripts/llama_tools.py \
		|| echo "the tests against llama.cpp's own tools will skip"; fi

$(READY): scripts/setup_env.py requirements.txt constraints.txt pyproject.toml scripts/llama-core.cmake
	$(PYTHON) scripts/setup_env.py --venv $(VENV) --wheels "$(WHEELS)"

clean:
	rm -rf $(VENV) runs
