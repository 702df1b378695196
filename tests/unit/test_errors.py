import inspect

import pytest

from embedder_assets import errors
from embedder_assets.errors import DocumentError, EmbedderError, ResourceExhaustedError

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__]
PARTS = {"expected": "a port", "got": "a potato", "remedy": "Plant it."}


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_answer_the_four_questions(kind):
    extra = {"kind": "vegetable"} if kind in (DocumentError, ResourceExhaustedError) else {}
    error = kind("the soil", **PARTS, **extra)
    assert isinstance(error, EmbedderError)
    assert str(error) == "the soil: expected a port, got a potato. Plant it."
    assert (error.thing, error.expected, error.got, error.remedy) == ("the soil", *PARTS.values())


def test_a_document_error_keeps_its_kind():
    assert DocumentError("a.pdf", kind="encrypted_pdf", **PARTS).kind == "encrypted_pdf"


@pytest.mark.parametrize("part", ["expected", "got", "remedy"])
def test_no_part_can_be_left_out(part):
    with pytest.raises(TypeError, match=part):
        EmbedderError("thing", **{name: value for name, value in PARTS.items() if name != part})
