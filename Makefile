# make demo    stylize sample photos on this machine; needs nothing but Python 3.11 or newer
# make test    style, types, imports and all tests
# make fuzz    the API against made-up requests (EXAMPLES of each route)
# make bench   our engines beside plain ones, and a bulk job beside the bare loop of decode, network and encode
# make client  the synchronous client from the asynchronous one
# make digests the list of the digests of all weights in the package, which `nst doctor` reads
# make images  container images, with docker, podman or buildah: deploy/README.md
# make locks   the newest versions that the images are made of
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

EXAMPLES ?= 100

# Tests start hundreds of processes, and each would compile the whole product.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test fuzz bench client digests lint style clean images locks

demo: $(STAMP)
	$(BIN)/nst demo

test: lint
	$(BIN)/pytest -m "not slow" -n 4 --dist loadfile --no-loadscope-reorder

fuzz: $(STAMP)
	NST_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/integration/test_fuzz.py

# PHOTOS: a folder of photos; the free ones of scikit-image without it.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.engines $(if $(PHOTOS),--photos $(PHOTOS))
	$(BIN)/python -m tests.benchmarks.pipeline $(PHOTOS)

client: $(STAMP)
	$(BIN)/python -m tests.sync_client

digests:
	cd nst_core/assets && find * -name '*.safetensors' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

style: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# BASE: another base image. TORCH_INDEX: the index of torch's CPU builds, unless pip has one configured. BUILD_FLAGS:
# more options of the engine. TAG: what to append to the names of the images.
ENGINE ?= $(firstword $(foreach each,docker podman buildah,$(if $(shell command -v $(each)),$(each))))
IMAGES ?= scheduler worker-cpu worker-cuda
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' nst_core/__init__.py)

images: $(IMAGES:%=image-%)

# Only the format of Docker has health checks.
image-%:
	$(ENGINE) build $(if $(filter docker,$(notdir $(ENGINE))),,--format docker) $(BUILD_FLAGS) \
		$(if $(BASE),--build-arg BASE=$(BASE)) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) \
		--label org.opencontainers.image.version=$(TAG) \
		--label org.opencontainers.image.revision=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
		--file deploy/docker/Dockerfile --target $* --tag nst-$*:$(TAG) .

# The images have Python 3.11. The suite runs with this torch for GPUs; the CPU build is the one that was tested in an
# image. uv finds the CPU build at TORCH_INDEX, or where UV_FIND_LINKS says.
TORCH_CPU := 2.13.0+cpu
TORCH_CUDA := 2.14.1
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28 --custom-compile-command "make locks"
LOCKS := deploy/docker/requirements

locks: $(STAMP)
	$(BIN)/pip install --quiet uv
	echo "setuptools>=77" | $(COMPILE) - --output-file $(LOCKS)/build.txt
	echo "cyclonedx-bom" | $(COMPILE) - --output-file $(LOCKS)/sbom.txt
	$(COMPILE) pyproject.toml --extra scheduler --extra tracing --output-file $(LOCKS)/scheduler.txt
	echo "torch==$(TORCH_CPU)" | $(COMPILE) pyproject.toml - --extra worker --extra tracing \
		--output-file $(LOCKS)/worker-cpu.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match)
	echo "torch==$(TORCH_CUDA)" | $(COMPILE) pyproject.toml - --extra worker --extra tracing \
		--output-file $(LOCKS)/worker-cuda.txt

# Made again when the dependencies change; otherwise every target starts at once.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .nst demo-output build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
