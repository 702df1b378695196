"""From tables to files that other systems read: the export folder of a collection, and its copy in a bucket.

``export`` writes Parquet, NumPy (``npz``) and the points of a vector database; ``s3_delivery`` uploads them. Whether a
collection may be exported is decided in ``evaluation.quality_gate``; the storage of the tables belongs to ``tables``.
Others import ``export`` and ``s3_delivery``.
"""
