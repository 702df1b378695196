"""LlamaIndex in bfloat16: what it reaches when somebody knows the switch."""

from __future__ import annotations

from benchmarks.peers.sides.llamaindex_pipeline import main

if __name__ == "__main__":
    main("bfloat16")
