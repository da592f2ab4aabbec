# The command line in a container, for a shell, Kubernetes or pods of Airflow. docs/docker.md describes the arguments.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# Install Python if the base image, for example one with CUDA, does not have it.
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then \
      apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && \
      rm -rf /var/lib/apt/lists/*; \
    fi && \
    python3 -m venv /opt/emotion-ops && \
    useradd --create-home --uid 10001 emotion-ops && \
    install --directory --owner emotion-ops /cache
ENV PATH=/opt/emotion-ops/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface \
    EMOTION_OPS_CACHE=/cache/emotion-ops

# torch has its own layer, before the others: it is the largest and changes least often.
WORKDIR /src
COPY constraints.txt ./
ARG TORCH_INDEX=
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch
COPY pyproject.toml README.md LICENSE ./
COPY emotion_ops ./emotion_ops
COPY dags ./dags
ARG EXTRAS=openvino,s3
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

USER 10001
WORKDIR /data

# Download the weights and prepare OpenVINO's graph, so that a container starts quickly. MODEL=none skips this.
ARG MODEL=demo
ARG REVISION=
RUN if [ "${MODEL}" != none ]; then emotion-ops doctor --model "${MODEL}" ${REVISION:+--revision "${REVISION}"}; fi

ENTRYPOINT ["emotion-ops"]
CMD ["--help"]
