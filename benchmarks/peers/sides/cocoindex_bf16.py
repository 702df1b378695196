"""CocoIndex in bfloat16: what it reaches when somebody knows the switch."""

from __future__ import annotations

from benchmarks.peers.sides.cocoindex_update import main

if __name__ == "__main__":
    main("bfloat16")
