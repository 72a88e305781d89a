# The image of every component on Kubeflow; `make image` builds it, docs/kubeflow.md shows how to use it.
#
#   DEVICE=cpu               without the CUDA libraries; gpu, the default, needs only NVIDIA's driver on the node
#   ENCODER=encoders/NAME    copies this folder with preprocess/ and encoder/ to /opt/encoder, for `encoder.handle`
#   REVISION=...             the commit, for the label
#   PIP_INDEX_URL=...        another package index; used only in the first stage, which is not part of the image
#   BASE=... BUILD_BASE=...  the same Python from another registry. A tag may be moved: use name@sha256:... for
#                            repeatable builds.
#
# The base is Debian 13, because the current set of versions needs its glibc (setup.py).
ARG BUILD_BASE=python:3.12.12-trixie
ARG BASE=python:3.12.12-slim-trixie
ARG ENCODER


# This base has the compiler that pyfarmhash needs; the final image has none.
FROM ${BUILD_BASE} AS packages
WORKDIR /app
ARG DEVICE=gpu
ARG PIP_INDEX_URL
# The image's user can't write bytecode: without this, each pod would compile all of TensorFlow again.
ARG UV_COMPILE_BYTECODE=true
COPY scripts/setup.sh scripts/
COPY requirements/current/base.txt requirements/current/gpu.txt requirements/current/
RUN case "$DEVICE" in \
        gpu) sh scripts/setup.sh gpu ;; \
        cpu) sh scripts/setup.sh ;; \
        *) echo "DEVICE=$DEVICE: should be gpu or cpu" >&2; exit 2 ;; \
    esac


FROM ${BASE} AS base
# Kubeflow's launcher writes artifacts to folders in / and runs as the container's user. Any user may write to them,
# because a cluster can replace the user below.
RUN install -d -m 1777 /minio /s3 /gcs /home/reviews
ENV HOME=/home/reviews \
    PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TF_USE_LEGACY_KERAS=1


FROM base AS base-with-encoder
ARG ENCODER
# The modes here and below: files of a checkout with a strict umask would be unreadable to the image's user.
COPY --chmod=755 ${ENCODER} /opt/encoder


# What changes most often comes last, so that a new commit pushes only some kilobytes.
FROM base${ENCODER:+-with-encoder}
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY --chmod=755 data/encoder data/encoder
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
# A number, so that a cluster with runAsNonRoot can verify that it is not root. No ENTRYPOINT: each task has its own
# command.
USER 1000:0
