# `make demo` and `make test` need Python >= 3.11 and make, and set up the rest in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
FLAGS := train/flagfiles/demo
# The head that is exported: general ships, and is safe whatever the pile; $(RUN)/sib, trained here, is for even ones.
HEAD ?= general
TRAINED = --model_dir=$(HEAD) --backbone_dir=$(RUN)/backbone --cache_dir=$(RUN)/data
EXPORTS := saved_model/1 float32.tflite float16.tflite int8.tflite

NPM ?= npm
PORT ?= 8000
WEB := export/web

# Exact versions, as CI installs them: make install CONSTRAINTS=.ci/constraints.txt. Empty: the newest of setup.cfg's ranges.
CONSTRAINTS ?=
# A part of the suite: make test TESTS='tests/test_sib.py -k step'.
TESTS ?=
EXTRAS := dev,serve,tune,web,torch,onnx,domains,photos
comma := ,
LOWEST := .venv-lowest

.PHONY: help install demo photos web notebook test test-sweeps browser test-lowest lint format fuzz soak lock licences audit clean

help:
	@echo "make demo    train, measure and export on the embedded data set, offline; report in $(RUN)"
	@echo "make photos  sort your own pictures: SUPPORT=DIR, <class>/ folders of a few labelled ones, and QUERY=DIR"
	@echo "make web     serve the page that learns in the browser, at http://127.0.0.1:$(PORT)/ (PORT=...)"
	@echo "make results train on CIFAR-FS, Omniglot and MINI_IMAGENET=DIR, compare methods, write RESULTS.md, in a day; QUICK=1: a part"
	@echo "make head    train the heads that ship, on CIFAR-FS, Omniglot and the embedded letters, in an hour or two"
	@echo "make notebook run docs/notebooks and write their outputs anew"
	@echo "make test    run the tests; make test-sweeps: more of kinds that these have one of already (kills, processes)"
	@echo "make bench   measure speed beside PyTorch and write BENCHMARKS.md, in 17 minutes"
	@echo "make fuzz    check properties of 100,000 generated episodes, in an hour; make soak: memory over long runs"
	@echo "make lint    check style; make format mends it"
	@echo "make lock    choose the exact versions of CI; make test-lowest: the suite on the lowest that setup.cfg allows"
	@echo "make audit   known vulnerabilities of these versions (online); make licences: those of what runs"
	@echo "make clean   remove what demo and tests made, and $(VENV)"

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python >= 3.11 is needed; $(PYTHON) is {sys.version.split()[0]}: make PYTHON=/path/to/python ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	@touch $@

# Commands of a line share a process, and load TensorFlow once. Meta-training has one of its own: it takes one thread.
TOGETHER = $(BIN)/python -m sib_tf.commands.sequence
EVALUATE = train.evaluate --flagfile=$(FLAGS)/evaluate --features_dir=$(RUN)/features --backbone_dir=$(RUN)/backbone --cache_dir=$(RUN)/data

demo: install
	@$(TOGETHER) train.pretrain --flagfile=$(FLAGS)/pretrain --cache_dir=$(RUN)/data --output_dir=$(RUN)/backbone \
	  -- train.extract_features --flagfile=$(FLAGS)/extract_features --cache_dir=$(RUN)/data --backbone_dir=$(RUN)/backbone --output_dir=$(RUN)/features
	$(BIN)/python -m train.meta_train --flagfile=$(FLAGS)/meta_train --features_dir=$(RUN)/features --output_dir=$(RUN)/sib
	rm -rf $(RUN)/exports
	@$(TOGETHER) train.calibrate --features_dir=$(RUN)/features --model_dir=$(RUN)/sib \
	  -- $(EVALUATE) --model_dir=$(RUN)/sib --output=$(RUN)/trained/metrics.json --report=$(RUN)/trained \
	  -- $(EVALUATE) --model_dir=$(HEAD) --compare_to=$(RUN)/trained/metrics.json --output=$(RUN)/metrics.json --report=$(RUN) \
	  -- export.saved_model $(TRAINED) --metrics=$(RUN)/metrics.json --output_dir=$(RUN)/exports/saved_model \
	  -- export.tflite $(TRAINED) --precision=float32,float16,int8 --output=$(RUN)/exports \
	  -- export.verify $(TRAINED) --flagfile=$(FLAGS)/verify $(patsubst %,--exported=$(RUN)/exports/%,$(EXPORTS)) --output=$(RUN)/exports/verification.json --report=$(RUN)/report.md \
	  -- export.benchmark_litert --flagfile=$(FLAGS)/benchmark_litert $(patsubst %,--tflite=$(RUN)/exports/%,$(filter %.tflite,$(EXPORTS))) --output=$(RUN)/exports/latency.json --report=$(RUN)/report.md
	@echo; sed -n 3p $(RUN)/report.md; echo "Report: $(RUN)/report.md   Exported files: $(RUN)/exports   The head trained here: $(RUN)/trained/report.md"

# SUPPORT: <class>/ folders of labelled pictures; QUERY: a folder of others; OUTPUT: where the answers go; PREDICT: more
# flags, such as PREDICT=--label_next=20.
OUTPUT ?= runs/photos
photos: $(VENV)/photos-installed
	@[ -n "$(SUPPORT)" ] && [ -n "$(QUERY)" ] || { echo "make photos needs SUPPORT=DIR, with a folder of labelled pictures for each class, and QUERY=DIR, the pictures to sort" >&2; exit 2; }
	@mkdir -p "$(OUTPUT)"
	$(BIN)/sib-tf predict --support="$(SUPPORT)" --query="$(QUERY)" --output="$(OUTPUT)/predictions.csv" --html="$(OUTPUT)/predictions.html" --save="$(OUTPUT)/classes.sib" $(PREDICT)

$(VENV)/photos-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[photos]'
	@touch $@

# What the page learns with: EfficientNet-Lite0, in int8 level with float32, and the head that ships; or another file of
# export.tflite, such as WEB_MODEL=$(RUN)/exports/float32.tflite after make demo.
WEB_RUN ?= runs/web
WEB_MODEL ?= $(WEB_RUN)/model.tflite
# The most that the page's model takes at once.
WEB_LIMITS := --way=20 --max_support=200 --max_query=500

# Python serves .wasm as application/wasm, which browsers insist on.
web: $(WEB)/node_modules/.package-lock.json $(WEB_MODEL)
	cp $(WEB_MODEL) $(WEB)/model.tflite
	cp sib_tf/heads/general.tflite $(WEB)/head.tflite
	@echo "The page: http://127.0.0.1:$(PORT)/   (Ctrl-C stops it)"
	@$(PYTHON) -m export.web_site --directory=$(WEB) --port=$(PORT)

$(WEB_RUN)/model.tflite: | $(VENV)/photos-installed
	$(BIN)/python -m train.import_backbone --source=efficientnet_lite0 --output_dir=$(WEB_RUN)/backbone
	$(BIN)/python -m export.tflite --model_dir=general --backbone_dir=$(WEB_RUN)/backbone --dataset=glyphs --cache_dir=$(RUN)/data --precision=int8 $(WEB_LIMITS) --episodes=10 --output=$@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@command -v $(NPM) >/dev/null || { echo "make web needs npm (Node.js 20 or later): apt-get install npm, or https://nodejs.org" >&2; exit 1; }
	$(NPM) ci --prefix $(WEB) --no-audit --no-fund
	@touch $@

$(RUN)/exports/float32.tflite:
	$(MAKE) demo

include benchmarks/results.mk
include train/heads.mk

# What the tests need: every extra whose packages pip brings. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# spares PyTorch's CUDA packages.
$(VENV)/tests-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[$(EXTRAS)]'
	@touch $@

# Browsers and the packages of the page, where they may be installed; what is missing is not tested.
BROWSERS ?= chromium firefox webkit
BROWSER_PROGRAM = $(patsubst webkit,WebKitWebDriver,$(patsubst firefox,firefox-esr,$(1)))
BROWSER_PACKAGES = $(patsubst webkit,webkit2gtk-driver libwebkit2gtk-4.1-0 xvfb,$(patsubst firefox,firefox-esr,$(1)))
browser:
	@$(foreach name,$(BROWSERS),\
	  if ! command -v $(call BROWSER_PROGRAM,$(name)) >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(call BROWSER_PACKAGES,$(name))) >/dev/null 2>&1 || true; fi; \
	  command -v $(call BROWSER_PROGRAM,$(name)) >/dev/null \
	    || echo "no $(name): the page is not tested in it (apt-get install $(call BROWSER_PACKAGES,$(name)))" >&2;)
	@[ -d $(WEB)/node_modules/@litertjs ] || $(NPM) ci --prefix $(WEB) --no-audit --no-fund --silent \
	  || echo "no @litertjs/core: the page is not tested (npm ci --prefix $(WEB))" >&2

# Files stay together: what a module's tests share is made once.
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m
# One part after the other, each in fresh processes: XLA keeps what it compiled for as long as a process lives, some
# 50 MB a function. TESTS=... names what to run instead, in one part.
PARTS ?= [a-d] [e-l] [m-o] p [q-z]

test: $(VENV)/tests-installed browser
	@failed=0; for part in $(if $(TESTS),once,$(PARTS)); do \
	  $(BIN)/$(PYTEST) 'not sweep' $(or $(TESTS),tests/test_$$part*.py) || failed=1; done; exit $$failed

# More of kinds of which `make test` has one: kills at random, trainings and searches by several processes.
test-sweeps: $(VENV)/tests-installed browser
	$(BIN)/$(PYTEST) sweep $(TESTS)

# The lowest versions that setup.cfg allows of what it names, and the newest of what these need.
test-lowest: install
	rm -rf $(LOWEST)
	$(BIN)/python -m venv $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev,serve,tune]'
	$(LOWEST)/bin/$(PYTEST) 'not sweep' -p no:cacheprovider $(TESTS)

notebook: install
	$(BIN)/python docs/notebooks/run.py

# Needs PyTorch, for the peer; the machine should be idle.
bench: install
	$(BIN)/python -m benchmarks.speed --output_dir=runs/speed --page=BENCHMARKS.md

fuzz soak: install
	$(BIN)/python -m fuzz.$(patsubst fuzz,run,$@)

# What only PyTorch's CUDA builds need is left out. backports.strenum: 1.3 says that it is for
# Python below 3.11, which pip heeds and uv does not.
lock: install
	printf 'pip\nbackports.strenum<1.3\n' | $(BIN)/uv pip compile --quiet --upgrade setup.cfg - $(addprefix --extra=,$(subst $(comma), ,$(EXTRAS))) --python-version 3.11 --no-annotate --no-header | grep -vE '^(cuda|nvidia|triton)' > .ci/constraints.partial
	mv .ci/constraints.partial .ci/constraints.txt

licences: install
	$(BIN)/python .ci/licences.py --output=docs/licences.md

# Asks pypi.org for advisories. Strict: a package that it cannot be asked about is a failure, not a success.
audit: install
	$(BIN)/uv tool run pip-audit --strict --requirement .ci/constraints.txt --no-deps --disable-pip --progress-spinner off

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(LOWEST) runs build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
