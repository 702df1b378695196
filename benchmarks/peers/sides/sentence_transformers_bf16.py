"""sentence-transformers in bfloat16: what it reaches on such a processor when somebody knows the switch."""

from __future__ import annotations

from benchmarks.peers.sides.sentence_transformers_fp32 import main

if __name__ == "__main__":
    main("bfloat16")
