"""From documents to the table ``chunks``: where a text is cut, and how long a chunk may be.

``stage`` updates the table, ``chunker`` cuts one document, ``packing`` decides which sections and pieces share a chunk,
``context`` what stands in front of one for the dense model, ``table_header`` for all models.
How formats are read belongs to ``corpus``; vectors belong to ``embedding``. Others import ``stage.ChunkStage``.
"""
