import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.stages.snippet import SNIPPET_CHARACTERS, query_words, snippet

FILLER = "lorem " * 100


def test_a_short_text_is_its_own_snippet_on_one_line():
    assert snippet("Reset\n\n  the\tpassword.", "anything") == "Reset the password."


def test_the_stretch_with_the_most_words_of_the_query_is_shown():
    text = f"password {FILLER} reset your password here {FILLER}"
    shown = snippet(text, "reset password")
    assert "reset your password" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")


def test_the_first_of_equal_stretches_is_shown():
    assert snippet(f"alpha {FILLER} alpha", "alpha").startswith("alpha")
    assert snippet(FILLER, "absent").startswith("lorem")


@pytest.mark.parametrize("length", [301, 350, 399, 400, 401, 450, 777])
def test_a_word_at_the_very_end_is_found(length):
    text = f"{'x' * (length - 7)} needle"
    assert snippet(text, "needle").endswith(" needle")


def test_a_repeated_word_counts_once():
    text = f"password password password {FILLER} reset password {FILLER}"
    assert "reset" in snippet(text, "reset password")


@given(st.text(max_size=900), st.text(max_size=30))
def test_a_snippet_is_a_stretch_of_the_text_of_limited_length(text, query):
    flat = " ".join(text.split())
    shown = snippet(text, query).removeprefix("…").removesuffix("…")
    assert shown in flat or "…" in flat
    assert len(shown) <= SNIPPET_CHARACTERS


def test_query_words_are_lower_case_and_leave_out_what_is_too_short():
    assert query_words("How do I re-set the VPN? Über_3") == ["how", "set", "the", "vpn", "über_3"]
    assert query_words("a b") == []
