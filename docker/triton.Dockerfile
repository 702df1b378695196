# NVIDIA's Triton with what our shared backend imports. Never built on the machine it was written on (no Docker engine).
#
# 24.12 is tritonserver 2.53, with Python 3.12. 24.10 is the 2.51 of the embedded server, but its Python 3.10 cannot
# install the onnxruntime that requirements.lock pins.
FROM nvcr.io/nvidia/tritonserver:24.12-py3

# The image's Python belongs to Triton; nothing else is managed in it.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY requirements.lock /tmp/requirements.lock
RUN python3 -m pip install --no-cache-dir --constraint /tmp/requirements.lock numpy onnxruntime-gpu tokenizers

COPY embedder_assets/serving/backends/text_encoder /opt/tritonserver/backends/text_encoder

ENV PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=true
USER triton-server
