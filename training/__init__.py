"""How the default reranker was made."""
