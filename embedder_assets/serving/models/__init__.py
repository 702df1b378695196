"""The model repository on disk: descriptions, checkpoints, and how a model is added and built.

Knows nothing of a running server.
"""
