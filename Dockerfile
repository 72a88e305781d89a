# The image of every component on Kubeflow; `make image` builds it, docs/kubeflow.md shows where it goes.
#
#   DEVICE=cpu               without the CUDA libraries; gpu, the default, needs NVIDIA's driver on the node only
#   ENCODER=encoders/NAME    puts this folder with preprocess/ and encoder/ at /opt/encoder, for `encoder.handle`
#   REVISION=...             the commit that this is, for the label
#   PIP_INDEX_URL=...        another package index; it stays in the first stage, which is not part of the image
#   BASE=... BUILD_BASE=...  the same Python from another registry. A tag may move: give name@sha256:... where a build
#                            has to be repeatable.
#
# The base is Debian 13, whose glibc the current set of versions needs (setup.py).
ARG BUILD_BASE=python:3.12.12-trixie
ARG BASE=python:3.12.12-slim-trixie
ARG ENCODER


# This base has the compiler that pyfarmhash needs; the image has none.
FROM ${BUILD_BASE} AS packages
WORKDIR /app
ARG DEVICE=gpu
ARG PIP_INDEX_URL
# The user of the image can't write bytecode: without it each pod of a run would compile all of TensorFlow again.
ARG UV_COMPILE_BYTECODE=true
COPY scripts/setup.sh scripts/
COPY requirements/current/base.txt requirements/current/gpu.txt requirements/current/
RUN case "$DEVICE" in \
        gpu) sh scripts/setup.sh gpu ;; \
        cpu) sh scripts/setup.sh ;; \
        *) echo "DEVICE=$DEVICE: should be gpu or cpu" >&2; exit 2 ;; \
    esac


FROM ${BASE} AS base
# Kubeflow's launcher keeps artifacts at the root of the file system and runs as the container's user. Whoever that is
# may write: a cluster can put another number in place of the one below.
RUN install -d -m 1777 /minio /s3 /gcs /home/reviews
ENV HOME=/home/reviews \
    PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TF_USE_LEGACY_KERAS=1


FROM base AS base-with-encoder
ARG ENCODER
# The modes here and below: a checkout under a strict umask is unreadable to the image's user.
COPY --chmod=755 ${ENCODER} /opt/encoder


# What changes most often comes last: a new commit costs one push of some kilobytes.
FROM base${ENCODER:+-with-encoder}
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY --chmod=755 data/invariance data/invariance
COPY --chmod=755 configs configs
COPY --chmod=755 schema schema
COPY --chmod=755 core core
COPY --chmod=755 artifacts artifacts
COPY --chmod=755 launchers launchers
COPY --chmod=755 trainer trainer
COPY --chmod=755 components components
COPY --chmod=755 pipeline pipeline
COPY --chmod=755 cluster cluster
COPY --chmod=755 local local
COPY --chmod=755 local_runner.py kubeflow_runner.py ./
ARG REVISION=unknown
LABEL org.opencontainers.image.title="review-sentiment-pipeline" \
      org.opencontainers.image.revision=$REVISION
# A number, or a cluster that demands runAsNonRoot can't tell that it is not root. No ENTRYPOINT: a task brings its own
# command.
USER 1000:0
