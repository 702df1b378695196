"""From vectors to rankings: exact and approximate search, fusion, reranking, and the search that a person asks.

How good a ranking is belongs to ``evaluation``.
"""
