# The operator's image, and the simulator's: `make image`. docs/how-to/build-the-image.md has the reasons and the checks.
#
# No step depends on the architecture: all requirements are wheels, which exist for amd64 and arm64.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

FROM ${PYTHON_IMAGE} AS builder
# hatchling gives the files of the wheel this time, and so do we; the default is its own.
ARG SOURCE_DATE_EPOCH=1580601600
# pip imports what it finds in /venv, and would leave .pyc files there that name times.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# First what seldom changes. Every file must have a hash that the requirements name, and none is compiled by a compiler
# of ours. /venv is copied into the image, without pip; /tools only builds our wheel.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /venv \
 && python -m venv --without-pip /tools \
 && pip --python /venv install --no-compile --require-hashes --only-binary :all: -r requirements/runtime.txt \
 && pip --python /tools install --no-compile --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml LICENSE README.md ./
COPY operator operator
RUN /tools/bin/python -m hatchling build -t wheel -d dist \
 && pip --python /venv install --no-compile --no-deps --no-index dist/tair_operator-*.whl
# Equal sources make equal bytes: a .pyc names the hash of its source instead of its time, and every file has one time.
# Nobody activates the environment or runs the commands of its libraries.
RUN find /venv/bin -type f ! -name 'tair-*' -delete \
 && python -m compileall -q --invalidation-mode unchecked-hash /venv/lib \
 && find /venv -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
# From the build: the commit, its time, and where the repository is.
ARG REVISION=unknown
ARG CREATED=2020-02-02T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="tair-operator" \
      org.opencontainers.image.description="Keeps the direct connection of Tair and Redis instances on Alibaba Cloud as a Kubernetes manifest says" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# Everything is compiled, and the file system is read-only. Logs leave at once.
ENV PATH=/venv/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=builder /venv /venv
# A number, so that kubelet can tell that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 8080
# -P keeps the working folder off sys.path. No shell: none is needed in the image.
ENTRYPOINT ["python", "-P", "-m", "tair_operator"]
