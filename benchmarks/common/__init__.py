"""What several benchmarks use: corpora, the bare ONNX Runtime loop, CPU time, a Triton with stub models, acceptance.

What only one benchmark needs stays in its folder. Modules are imported by name, since some need the package, which
the environments of ``make bench NAME=peers`` and ``NAME=sparse_throughput`` do not have.
"""
