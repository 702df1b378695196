"""From chunks to ``dense_embeddings`` and ``sparse_embeddings``: what is missing is computed, the rest is reused.

``stage`` does so for all models of a table and publishes them in one commit; ``dense`` and ``sparse`` turn what a model
answers into rows, ``keys`` says whose a row is, ``failures`` lists texts on which a model fails, and ``fallback`` and
``lexical`` let something simpler stand in for a model. How a model is asked belongs to ``serving.client``; how vectors
are searched belongs to ``retrieval``. Others import all of these modules; what they need most is ``stage``'s
``EmbeddingStage`` and ``keys.ModelVersion``.
"""
