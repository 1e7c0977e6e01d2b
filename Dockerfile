# The operator's image: docker build -t tair-operator:0.1.0 .
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# First what seldom changes. Every file must have a hash that the requirements name, and none is compiled here.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /venv \
 && pip --python /venv install --require-hashes --only-binary :all: -r requirements/runtime.txt \
 && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml LICENSE README.md ./
COPY operator operator
RUN hatchling build -t wheel -d dist \
 && pip --python /venv install --no-deps --no-index dist/tair_operator-*.whl

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
