import pytest
from tritonclient.utils import InferenceServerException

from embedder_assets.errors import InferenceError, ResourceExhaustedError, TritonUnavailableError
from embedder_assets.serving.client.grpc import _errors_of
from embedder_assets.serving.client.oom import out_of_memory_kind
from embedder_assets.serving.server.access import TritonAddress

INTERNAL, EXHAUSTED = "StatusCode.INTERNAL", "StatusCode.RESOURCE_EXHAUSTED"
ARENA = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"
ORT = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (INTERNAL, "CUDA out of memory", "out_of_memory"),
        (INTERNAL, "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 14.76 GiB total capacity)", "out_of_memory"),
        (INTERNAL, ORT + ARENA, "out_of_memory"),
        (INTERNAL, ORT + "CUDA failure 2: out of memory ; GPU=0", "out_of_memory"),
        (INTERNAL, ORT + "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", "out_of_memory"),
        (INTERNAL, ORT + "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED", "out_of_memory"),
        (INTERNAL, "Failed to process the request(s): std::bad_alloc", "out_of_memory"),
        (INTERNAL, "ArrayMemoryError: Unable to allocate 1.2 GiB for an array", "out_of_memory"),
        (INTERNAL, "MemoryError: ", "out_of_memory"),
        (INTERNAL, "[Errno 12] Cannot allocate memory", "out_of_memory"),
        (INTERNAL, "Failed to increase the shared memory pool size for key 'x' to 9 bytes", "shared_memory"),
        (INTERNAL, "boost::interprocess::bad_alloc", "shared_memory"),
        (INTERNAL, "it run out of shared memory", "shared_memory"),
        (EXHAUSTED, "Received message larger than max (9 vs. 4)", "resource_exhausted"),
        (EXHAUSTED, "CUDA out of memory", "out_of_memory"),
        (INTERNAL, "the text is not valid UTF-8", None),
        (INTERNAL, ORT + "CUDA failure 700: an illegal memory access was encountered", None),
        (INTERNAL, ORT + "CUDA failure 209: no kernel image is available", None),
        ("StatusCode.INVALID_ARGUMENT", "inference request batch-size must be <= 512", None),
        (None, "", None),
    ],
)
def test_server_message_becomes_one_word(status, message, kind):
    assert out_of_memory_kind(status, message) == kind


def raised(status: str, message: str) -> Exception:
    with pytest.raises(Exception) as caught, _errors_of(TritonAddress("host:1"), "inference on model 'm'"):
        raise InferenceServerException(message, status)
    return caught.value


def test_memory_errors_have_their_own_type():
    error = raised(INTERNAL, "CUDA out of memory")
    assert isinstance(error, ResourceExhaustedError)
    assert error.kind == "out_of_memory"
    assert "EMBEDDER_REQUEST_BATCH_SIZE" in str(error)
    other = raised(INTERNAL, "the text is not valid UTF-8")
    assert type(other) is InferenceError
    assert other.kind == "inference_failed"


def test_unavailable_server_is_not_out_of_memory():
    assert isinstance(raised("StatusCode.UNAVAILABLE", "failed to allocate"), TritonUnavailableError)
