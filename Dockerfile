# The operator's image. It takes the wheel that was tested and released, so it needs no build tools and no sources:
#
#   .venv/bin/hatchling build -t wheel && docker build -t tair-operator:0.1.0 .
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /venv
# First what seldom changes. Every file must have a hash that requirements/runtime.txt names, and none is compiled here.
COPY requirements/runtime.txt /build/
RUN pip --python /venv install --require-hashes --only-binary :all: -r /build/runtime.txt
COPY dist/tair_operator-*.whl /build/
RUN pip --python /venv install --no-deps --no-index /build/tair_operator-*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="tair-operator" \
      org.opencontainers.image.description="Keeps the direct connection of Tair and Redis instances on Alibaba Cloud as a Kubernetes manifest says" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# pip has compiled everything, and the file system is read-only. Logs leave at once.
ENV PATH=/venv/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=builder /venv /venv
# A number, so that kubelet can tell that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 8080
# -P keeps the working folder off sys.path.
ENTRYPOINT ["python", "-P", "-m", "tair_operator"]
