"""Out of memory: which of Triton's answers mean that a request was too large for the memory there is.

Triton has no status of its own for it: a backend's allocation error comes as INTERNAL with whatever words the runtime
has. So messages are matched against the words of CUDA, cuBLAS, cuDNN, ONNX Runtime, Python, NumPy, C++ and Triton's own
shared memory between server and Python backend.
"""

from __future__ import annotations

# In lower case; the first kind with a match is reported. Specific words, because a text that fails for another reason
# is found in another way, and must not make every request small.
WORDS: dict[str, tuple[str, ...]] = {
    "shared_memory": (
        "shared memory pool",
        "out of shared memory",
        "interprocess::bad_alloc",
        "no space left on device",
    ),
    "out_of_memory": (
        "out of memory",
        "out_of_memory",
        "outofmemory",
        "cuda failure 2:",
        "cuda error 2:",
        "cudaerrormemoryallocation",
        "cublas_status_alloc_failed",
        "cudnn_status_alloc_failed",
        "failed to allocate",
        "cannot allocate memory",
        "unable to allocate",
        "bad_alloc",
        "bad allocation",
        "memoryerror",
    ),
}
STATUS = "StatusCode.RESOURCE_EXHAUSTED"


def out_of_memory_kind(status: str | None, message: str) -> str | None:
    """What was short, as one word, or None where the answer says something else.

    Args:
        status: The gRPC status, as the client library writes it.
        message: The server's message.
    """
    lowered = message.lower()
    for kind, words in WORDS.items():
        if any(word in lowered for word in words):
            return kind
    return "resource_exhausted" if status == STATUS else None
