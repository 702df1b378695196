"""embedder-assets: RAG tables as Dagster assets, computed by models in a real NVIDIA Triton server."""

import os

# After a product of matrices, numpy's threads would keep the cores busy for some 25 ms, waiting for another one, while
# the models want them. Numpy reads this when it is imported; 2 to the power of 4 ticks is the least.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
