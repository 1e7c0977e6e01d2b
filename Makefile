# Everything a contributor runs, on a machine with nothing but Python 3.11+ and make.
#
# The first target that needs them installs the pinned tools into .venv; after that a target starts at once.
# Only `make test` and `make demo` need more: a kube-apiserver, and for the tests Helm, Prometheus and the engines of GitOps
# tools, which tests/controlplane finds or builds.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# A slow network is not a broken one.
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export UV_HTTP_TIMEOUT ?= 180
export UV_HTTP_RETRIES ?= 8
export UV_NO_PROGRESS ?= 1

VENV := .venv
BIN := $(VENV)/bin
# The tests start hundreds of processes, and one that has to compile its modules takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/$(VENV)/pycache
# -P keeps the working folder off sys.path, as in the image.
PYTHON := $(BIN)/python -P
UV := $(BIN)/uv
PYTEST := $(BIN)/python -m pytest
CRD := crds/tairinstances.yaml
# What must be covered completely, a comma-separated list of patterns; the floor for the rest is in pyproject.toml.
CORE := */plan.py,*/stance.py,*/guards.py,*/proposal.py,*/settling.py,*/subject.py,*/deletion.py,*/tair_operator/publication.py,*/retries.py,*/memory.py,*/listing.py,*/audit.py,*/situation.py,*/conditions.py,*/tair_operator/operations.py,*/answers.py,*/status.py,*/crd.py,*/aliyun/signing.py,*/aliyun/errors.py

# Files of tests that run at the same time: those against a real API server mostly wait.
JOBS ?= 3

# What `make cluster-tests` installs the operator with: kustomize, chart or namespaced.
INSTALL ?= chart

# Bold on a terminal.
step = @printf '\n$(if $(MAKE_TERMOUT),\033[1m)== %s$(if $(MAKE_TERMOUT),\033[0m)\n' '$(1)'
# $(call mend,COMMAND,ADVICE): runs a check and, when it fails, says how to go on.
mend = @$(1) || { printf '\n-> %s\n' '$(2)' >&2; exit 1; }

##@ Everyday

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: install ## Watch the operator at work: a real API server, a simulated cloud (KEEP=1 leaves them running)
	@PYTHONPATH=. $(PYTHON) -m demo $(if $(KEEP),--keep)

.PHONY: test
test: static tests ## Run everything: linters, types, unit, integration and real-API-server tests, coverage

.PHONY: check
check: static unit-tests ## Run the fast part: linters, types, layers, CRD, unit tests

.PHONY: fix
fix: install ## Mend what can be mended by itself: format, imports, simple lint findings
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

.PHONY: crds
crds: install ## Render crds/tairinstances.yaml from the models
	@mkdir -p $(dir $(CRD))
	@$(PYTHON) -m tair_operator.crd > $(CRD).new && mv $(CRD).new $(CRD) || { rm -f $(CRD).new; exit 1; }

.PHONY: docs
docs: install ## Render the pages and the parts of the chart that come from the code
	@PYTHONPATH=. $(PYTHON) -m docs.render
	@PYTHONPATH=. $(PYTHON) -m docs.chart

.PHONY: bench
bench: install ## Measure against rivals: tables, benchmarks/results.json (FULL=1 all of it; PAGE=1 renders the page)
	@PYTHONPATH=. $(PYTHON) -m benchmarks $(if $(FULL),--full) $(ARGS)
	@$(if $(PAGE),PYTHONPATH=. $(PYTHON) -m benchmarks.page)

##@ Now and then

.PHONY: pytest
pytest: install ## Run some tests without the rest: make pytest PYTEST_ARGS="tests/unit -k plan -x"
	@$(PYTEST) $(PYTEST_ARGS)

.PHONY: cluster-tests
cluster-tests: install ## Run the tests on a real API server under what else installs the operator (INSTALL=chart or namespaced)
	@TAIR_TEST_INSTALL=$(INSTALL) $(PYTEST) tests/cluster -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: mutation
mutation: install ## Change the rules one place at a time and see whether a test notices (half an hour; MODULES="plan")
	@# Two changes within a second may have one size and one time: no bytecode.
	@PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=. $(PYTHON) -m tests.mutation $(MODULES)

.PHONY: endurance
endurance: install ## Run the long variants: five minutes without an API server, twenty crashes with 1,000 resources, 300 kills
	@TAIR_TEST_OUTAGE_SECONDS=300 TAIR_TEST_FAILOVER_RUNS=20 TAIR_TEST_KILLS=300 TAIR_TEST_UPDATES=5 TAIR_TEST_INACTIVITY_SECONDS=70 \
	  $(PYTEST) -s tests/cluster/test_outage.py tests/cluster/test_failover.py tests/chaos $(PYTEST_ARGS)

.PHONY: soak
soak: install ## Flip, break and restart for a long time: memory, files and tasks stay flat (MINUTES=10, RESOURCES, SEED)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) $(if $(RESOURCES),--resources $(RESOURCES)) $(if $(SEED),--seed $(SEED))

.PHONY: explore
explore: install ## Let thousands of pairs of calls go wrong, beside every single one (ten minutes; PAIRS=2000)
	@FAULTS_PAIRS=$(or $(PAIRS),2000) $(PYTEST) tests/faults -q -n $(JOBS) $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: install ## Make up replies, resources, settings and seeds that nobody has tried (MINUTES=10; TARGETS="replies keys")
	@PYTHONPATH=. $(PYTHON) -W ignore -m tests.fuzz --minutes $(or $(MINUTES),10) $(TARGETS)

.PHONY: control-plane
control-plane: install ## Start etcd and kube-apiserver without containers, until Ctrl-C
	@$(BIN)/python -m tests.controlplane

.PHONY: requirements
requirements: $(UV) ## Pin the dependencies of pyproject.toml again (UPGRADE=1 takes newer versions)
	@echo 'pinning requirements/*.txt'
	$(call pin,pyproject.toml,runtime)
	$(call pin,pyproject.toml --group dev -c requirements/runtime.txt,dev)
	$(call pin,requirements/uv.in,uv)
	$(call pin,requirements/build.in -c requirements/dev.txt,build)
	$(call pin,requirements/go.in,go)
	$(call pin,requirements/faketime.in,faketime)
	$(call pin,requirements/sbom.in,sbom)

pin = @$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' $(1) -o requirements/$(2).txt

.PHONY: clean
clean: ## Remove what make made, the environment included; the cached control plane stays
	rm -rf $(VENV) dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

##@ Releasing

# The time of the commit and of every file in the image: the same commit makes the same bytes.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1580601600)
# The first that answers: a docker command without an engine is no engine. buildah asks for no runtime when it has none.
ENGINE ?= $(firstword $(foreach name,docker podman buildah,$(shell $(name) info >/dev/null 2>&1 && echo $(name))))
IMAGE ?= tair-operator:$(VERSION)
SOURCE ?= unknown
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
CREATED = $(shell python3 -c 'import sys, time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(sys.argv[1]))))' $(SOURCE_DATE_EPOCH))
CHART := deploy/helm/tair-operator
BUILD.docker = docker buildx build
BUILD.podman = podman build --timestamp $(SOURCE_DATE_EPOCH)
BUILD.buildah = buildah build --timestamp $(SOURCE_DATE_EPOCH) $(if $(or $(BUILDAH_ISOLATION),$(shell command -v crun runc)),,--isolation chroot)

.PHONY: image
image: ## Build the image with docker, podman or buildah (ENGINE, IMAGE, PYTHON_IMAGE; IMAGE_ARGS="--platform linux/arm64")
	@test -n '$(BUILD.$(ENGINE))' || { echo 'No container engine answers. Install one (Debian, Ubuntu: apt install buildah), or name it: make image ENGINE=podman' >&2; exit 1; }
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BUILD.$(ENGINE)) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) --build-arg SOURCE=$(SOURCE) \
	  $(IMAGE_ARGS) --tag $(IMAGE) .

# Made in an environment with what the image has in /venv, by a tool that has one of its own.
.PHONY: sbom
sbom: $(UV) ## Write dist/sbom.cdx.json: the Python packages of the image, in CycloneDX
	@mkdir -p dist
	@$(UV) venv --quiet --clear --python $(BIN)/python $(VENV)/sbom
	@$(UV) pip sync --quiet --python $(VENV)/sbom/bin/python --require-hashes requirements/sbom.txt
	@$(UV) venv --quiet --clear --python $(BIN)/python $(VENV)/image
	@$(UV) pip sync --quiet --python $(VENV)/image/bin/python --require-hashes requirements/runtime.txt
	@$(VENV)/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type application \
	  --spec-version 1.6 --output-file dist/sbom.cdx.json $(VENV)/image/bin/python
	@echo 'dist/sbom.cdx.json'

.PHONY: image-test
image-test: install ## Build the image twice, compare, start the operator from it (root on Debian, buildah, debootstrap; ten minutes)
	@$(PYTEST) -p no:randomly $(or $(PYTEST_ARGS),-x) tests/image

# What release.yml calls. REGISTRY is a host and a folder: registry.example/team.
.PHONY: release-check release-image image-digest chart-push chart-digest sign
release-check: ## Fail unless TAG is the version of pyproject.toml
	@test '$(TAG)' = 'v$(VERSION)' || { echo 'the tag is "$(TAG)", the version is $(VERSION)' >&2; exit 1; }

release-image: ## Build the image for both architectures with buildx and push it to REGISTRY
	@$(MAKE) image ENGINE=docker IMAGE=$(REGISTRY)/tair-operator:$(VERSION) IMAGE_ARGS='--platform linux/amd64,linux/arm64 \
	  --sbom=true --provenance=mode=max --metadata-file $(call at,image.json) --output type=registry,rewrite-timestamp=true'

chart-push: ## Package the chart and push it to REGISTRY/charts
	@helm package $(CHART) --destination $(call at,)
	@helm push dist/tair-operator-$(VERSION).tgz oci://$(REGISTRY)/charts $(HELM_ARGS) > dist/chart.log 2>&1 || { cat dist/chart.log >&2; exit 1; }
	@cat dist/chart.log

image-digest: ## Print digest=sha256:… of the image that was pushed
	@sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]*\)".*/digest=\1/p' dist/image.json | grep .

chart-digest: ## Print digest=sha256:… of the chart that was pushed
	@sed -n 's/^Digest: *\(sha256:[0-9a-f]*\).*/digest=\1/p' dist/chart.log | grep .

sign: ## Sign both by their digests with cosign, as the workflow that runs, without a key
	@image=$$($(MAKE) --silent image-digest) && chart=$$($(MAKE) --silent chart-digest) \
	 && cosign sign --yes $(REGISTRY)/tair-operator@$${image#digest=} $(REGISTRY)/charts/tair-operator@$${chart#digest=}

# $(call at,FILE): its path in dist, which is there then.
at = $(shell mkdir -p dist)dist/$(1)

# One target each, so that `make -k check` goes on after a failure and shows them all.
.NOTPARALLEL:
.PHONY: static lint format types layers dependencies crds-current
static: lint format types layers dependencies crds-current

lint: install
	$(call step,ruff check)
	$(call mend,$(BIN)/ruff check --quiet,make fix mends part of it)

format: install
	$(call step,ruff format)
	$(call mend,$(BIN)/ruff format --check --quiet,make fix)

types: install
	$(call step,mypy)
	$(call mend,$(BIN)/mypy,types are strict; the settings are in pyproject.toml)

layers: install
	$(call step,import-linter)
	$(call mend,$(BIN)/lint-imports --no-logo,dependencies point inwards; the contracts and their reasons are in pyproject.toml)

dependencies: install
	$(call step,deptry)
	$(call mend,$(BIN)/deptry operator,declare in pyproject.toml what is imported and nothing else; then make requirements)

crds-current: install
	$(call step,CRD)
	$(call mend,$(PYTHON) -m tair_operator.crd | diff -u $(CRD) -,make crds)

# What the prerequisites of `check` and `test` end with, so that the closing lines of pytest are the last to be seen.
.PHONY: unit-tests tests
unit-tests: install
	$(call step,unit tests)
	$(call mend,$(PYTEST) tests/unit $(PYTEST_ARGS),one test again: make pytest PYTEST_ARGS="-k NAME -x")

tests: install
	$(call step,control plane)
	@$(BIN)/python -m tests.controlplane --build
	$(call step,all tests)
	$(call mend,$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term $(PYTEST_ARGS),one test again: make pytest PYTEST_ARGS="-k NAME -x"; what coverage misses: $(BIN)/coverage report)
	$(call mend,$(BIN)/coverage report --fail-under=100 --include='$(CORE)' > $(VENV)/core || { cat $(VENV)/core; false; },every line and branch of the core must be covered)

# --- the environment -------------------------------------------------------------------------------------------------

.PHONY: install
install: $(VENV)/.installed

# An environment does not survive a move: its scripts name the old folder. The stamp therefore holds the place.
ifneq ($(wildcard $(VENV)/.installed),)
ifneq ($(file <$(VENV)/.installed),$(CURDIR))
.PHONY: $(VENV)/bin/python
endif
endif

# Debian splits venv from Python, and version managers leave commands that only print an error: each candidate is tried.
$(VENV)/bin/python:
	@for name in $(PYTHON3) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$name; break; fi; \
	done; \
	if test -z "$$found"; then \
	  echo 'No Python 3.11 or newer with the venv module was found.' >&2; \
	  echo 'Install one (Debian, Ubuntu: apt install python3-venv), or name it: make PYTHON3=/path/to/python3.11 …' >&2; \
	  exit 1; \
	fi; \
	echo "creating $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV)

$(UV): requirements/uv.txt $(VENV)/bin/python
	@echo 'installing uv'
	@$(BIN)/python -m pip install --quiet --retries 8 --timeout 180 --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.synced: requirements/dev.txt $(UV)
	@echo 'installing the pinned requirements (requirements/dev.txt)'
	@for attempt in 1 2 3; do \
	  $(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt && break; \
	  test $$attempt -lt 3 || exit 1; \
	  echo "that was attempt $$attempt of 3; trying again"; sleep 5; \
	done
	@touch $@

# After the sync, which removes what is not pinned.
$(VENV)/.installed: pyproject.toml $(VENV)/.synced
	@echo 'installing tair-operator itself (editable)'
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@printf '%s\n' '$(CURDIR)' > $@
