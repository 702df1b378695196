"""What an object store says is reported in one sentence; what a disk says is not taken for it."""

import pytest

from embedder_assets.tables.object_store import object_store_error

# As deltalake 1.6.6, polars 2.1 and obstore 0.12 gave them.
DELTA = (
    "Kernel error -> Generic S3 error\n          \x1b[31m↳\x1b[0m Error performing list request\n"
    "           \x1b[31m↳\x1b[0m Error performing GET http://127.0.0.1:1/lake in 1ms - Server returned non-2xx"
    '\n            \x1b[31m↳\x1b[0m 404 Not Found\n             \x1b[31m↳\x1b[0m <?xml version="1.0"?>\n'
    "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>\n"
)
OBSTORE = (
    "Generic S3 error: Error performing GET http://127.0.0.1:9/lake in 293ms, after 2 retries, max_retries: 2, "
    'retry_timeout: 180s  - HTTP error: error sending request\n\nDebug source:\nGeneric {\n    "Signature=abc"\n}'
)
WITHOUT_BODY = (
    "Generic S3 error: Error performing GET http://127.0.0.1:9/x in 2ms - Server returned: 503 Service Unavailable"
)
SIGNED = (
    "Error performing PUT http://127.0.0.1:1/x: 403 Forbidden\n<Error><Code>AccessDenied</Code><StringToSign>AWS4-HMAC"
    "</StringToSign><SignatureProvided>abc</SignatureProvided></Error>"
)


@pytest.mark.parametrize(
    ("said", "got", "remedy"),
    [
        (DELTA, "NoSuchBucket: The specified bucket does not exist", "Make the bucket, or correct"),
        (OBSTORE, "HTTP error: error sending request", "Check that the server at AWS_ENDPOINT_URL answers"),
        (WITHOUT_BODY, "503 Service Unavailable", "Check the object store and AWS_ENDPOINT_URL"),
        (SIGNED, "AccessDenied", "Correct AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_refusal_is_one_sentence_with_a_remedy(said, got, remedy):
    error = object_store_error("the tables", said)
    assert error is not None
    assert (error.thing, error.got) == ("the tables", got)
    assert error.remedy.startswith(remedy)
    assert "\n" not in str(error)
    assert not any(word in str(error) for word in ("AWS4-HMAC", "Signature", "\x1b"))


@pytest.mark.parametrize(
    "said",
    [
        "The operation lacked the necessary privileges to complete for path tables/chunks",
        "No space left on device (os error 28)",
        "parquet: File out of specification: a footer is missing",
        "Error performing GET http://127.0.0.1:1/lake/x: 404 Not Found\n<Error><Code>NoSuchKey</Code></Error>",
    ],
)
def test_file_errors_are_not_store_errors(said):
    assert object_store_error("the tables", said) is None
