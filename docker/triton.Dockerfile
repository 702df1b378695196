# NVIDIA's Triton with what our shared backend imports. Never built on the machine it was written on (no Docker engine).
#
# 25.10 has CUDA 13, which the onnxruntime-gpu of requirements.lock is built for, and Python 3.12.
FROM nvcr.io/nvidia/tritonserver:25.10-py3

# The image's Python belongs to Triton; nothing else is managed in it.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY requirements.lock /tmp/requirements.lock
RUN python3 -m pip install --no-cache-dir --constraint /tmp/requirements.lock numpy onnxruntime-gpu openvino tokenizers

COPY embedder_assets/serving/backends/text_encoder /opt/tritonserver/backends/text_encoder

ENV PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=true
USER triton-server
