"""What may stand in for a model that fails, and the word for the reason."""

import pytest

from embedder_assets import errors
from embedder_assets.embedding.fallback import MODEL_ERRORS, Fallback, fallback_reason
from tests.support.factories import make_error

WORDS = {
    errors.ModelBuildError: "model_unavailable",
    errors.ModelLoadError: "model_unavailable",
    errors.TritonUnavailableError: "triton_unavailable",
    errors.InferenceError: "inference_failed",
}
NOT_OF_A_MODEL = [errors.TableError, errors.QualityError, errors.SettingsError, errors.EmbedderError]


@pytest.fixture
def reported() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def fallback(reported) -> Fallback:
    return Fallback(True, lambda reason, message: reported.append((reason, message)), "kb")


def failing(error: Exception):
    def work() -> str:
        raise error

    return work


@pytest.mark.parametrize(("kind", "word"), WORDS.items())
def test_each_kind_of_error_has_its_word(kind, word):
    assert fallback_reason(make_error(kind)) == word


def test_every_error_of_a_model_is_listed_here():
    assert set(MODEL_ERRORS) == {*WORDS}


def test_working_model_needs_no_stand_in(fallback, reported):
    assert fallback.run_or_fall_back(lambda: "work", failing(AssertionError())) == "work"
    assert (fallback.used, reported) == (False, [])


@pytest.mark.parametrize(("kind", "word"), WORDS.items())
def test_stand_in_is_used_and_reported(fallback, reported, kind, word):
    error = make_error(kind)
    assert fallback.run_or_fall_back(failing(error), lambda: "stand-in") == "stand-in"
    assert (fallback.used, reported) == (True, [(word, f"kb: {error}")])


def test_forbidden_fallback_raises_the_error(reported):
    forbidden, error = Fallback(False, lambda *_: reported.append("reported")), make_error()
    with pytest.raises(errors.InferenceError) as caught:
        forbidden.run_or_fall_back(failing(error), lambda: "stand-in")
    assert (caught.value, forbidden.used, reported) == (error, False, [])


@pytest.mark.parametrize("kind", NOT_OF_A_MODEL)
def test_other_errors_come_out(fallback, reported, kind):
    with pytest.raises(kind):
        fallback.run_or_fall_back(failing(make_error(kind)), lambda: "stand-in")
    assert reported == []


def test_failing_stand_in_was_not_used(fallback, reported):
    with pytest.raises(errors.ModelBuildError, match="the tokenizer"):
        fallback.run_or_fall_back(failing(make_error()), failing(make_error(errors.ModelBuildError, "the tokenizer")))
    assert (fallback.used, reported) == (False, [])
