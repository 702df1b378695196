"""From chunks to ``dense_embeddings`` and ``sparse_embeddings``: what is missing is computed, the rest is reused.

How a model is asked belongs to ``serving.client``; how vectors are searched belongs to ``retrieval``.
"""
