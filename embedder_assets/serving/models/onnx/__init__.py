"""ONNX graphs: written from weights, exported by torch, changed in precision, and opened on the CPU.

``bert`` writes a graph from ``bert_encoder`` and one of ``bert_heads`` or ``bert_interaction``, ``torch_export``
exports other architectures, and ``quantize`` makes int8 (with ``per_token_scale``) or float16. Which files a model
has, and their digests, belong to ``models.build``. Others import ``cpu_session``; the rest is for ``models``,
training and benchmarks.
"""
