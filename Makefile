# Each target sets up what it needs (scripts/setup.sh: seconds once installed).
# ARGS is passed to the command: make run ARGS="--set trainer.epochs=2", make test ARGS="tests/schema -x".

ARGS :=

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-slow lint format bench lock wheel debian13 image flink flink-down clean

help:
	@echo 'make run     train, evaluate and push a model from the bundled sample'
	@echo 'make test    run the tests; test-fast: those without TensorFlow, half a minute; test-slow: the slow tests, hours'
	@echo 'make lint    check style, types and the direction of imports; make format fixes the style'
	@echo 'make bench   compare the training with the notebook and PyTorch (an hour; needs an idle machine)'
	@echo 'make lock    resolve setup.py into the lock files in requirements/; ARGS=--upgrade takes newer versions'
	@echo 'make wheel   build the package into dist/; docs/install.md shows how to install it'
	@echo 'make debian13 ARGS="test" (or run, ...)  run that target with the current versions if glibc is older than 2.39'
	@echo 'make image   build the image for Kubeflow; TAG=name:tag, ARGS="--build-arg DEVICE=cpu" for one without CUDA'
	@echo 'make flink   start a Flink with two task managers on this machine (docs/engine.md); make flink-down ends it'
	@echo 'make clean   remove the environment and the caches, but not runs/ with its models'
	@echo 'ARGS="..." is passed to the commands of run, test and image'

run:
	@sh scripts/setup.sh
	.venv/bin/python local_runner.py run $(ARGS)

test:
	@sh scripts/setup.sh dev
	@mkdir -p build
	.venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --cov --cov-report= $(ARGS)
	@echo "coverage: $$(.venv/bin/python -m coverage report --format=total) %"

test-fast:
	@sh scripts/setup.sh dev
	.venv/bin/python -m pytest --fast $(ARGS)

# One at a time: most slow tests are whole runs, which use all cores.
test-slow:
	@sh scripts/setup.sh dev
	.venv/bin/python -m pytest -m slow $(ARGS)

lint:
	@sh scripts/setup.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format:
	@sh scripts/setup.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

BENCH = .venv/bin/python -m benchmarks

bench:
	@sh scripts/setup.sh bench || sh scripts/setup.sh # without PyTorch the rest is measured
	$(BENCH).training_speed speed --shape 4x256
	$(BENCH).training_speed speed --shape 12x768
	$(BENCH).training_speed floor --shape 4x256
	$(BENCH).training_speed accuracy --shape 4x256
	$(BENCH).training_scaling
	$(BENCH).training_memory 34000 340000

lock:
	sh scripts/lock.sh $(ARGS)

debian13:
	@bash scripts/debian13.sh $(ARGS)

# Files of an earlier build in build/lib would get into the wheel.
wheel:
	@sh scripts/setup.sh
	rm -rf build/lib
	@.venv/bin/python -c 'from setuptools import build_meta; print("dist/" + build_meta.build_wheel("dist", {"--global-option": ["--quiet"]}))'

# A separate tag per commit: Kubernetes does not pull a tag again if the node has it.
REVISION = $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
TAG = reviews:$(REVISION)

# BuildKit has to be enabled for Docker before 23, which does not support COPY --chmod without it.
image:
	@engine="$$(command -v docker || command -v podman)" || { \
		echo 'make image: neither docker nor podman is on PATH; install one, or build the Dockerfile elsewhere' >&2; \
		exit 1; \
	}; \
	DOCKER_BUILDKIT=1 "$$engine" build --tag '$(TAG)' --build-arg 'REVISION=$(REVISION)' $(ARGS) .

flink:
	@sh scripts/setup.sh
	@.venv/bin/python scripts/flink.py up $(ARGS)

flink-down:
	@.venv/bin/python scripts/flink.py down $(ARGS)

# No trailing slashes: of a symbolic link only the link is removed.
clean:
	rm -rf .venv .uv .pytest_cache .hypothesis .ruff_cache build dist review_sentiment_pipeline.egg-info
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
