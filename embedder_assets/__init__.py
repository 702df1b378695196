"""embedder-assets: RAG tables as Dagster assets, computed by models in a real NVIDIA Triton server."""
