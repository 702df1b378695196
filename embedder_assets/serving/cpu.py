"""How many cores a process may use, for all that computes in threads of its own.

It is written in the folder of the Triton backend, because Triton's process imports only what lies there.
"""

from embedder_assets.serving.backends.text_encoder.cpu_options import cores

__all__ = ["cores"]
