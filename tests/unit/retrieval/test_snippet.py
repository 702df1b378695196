import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.retrieval.snippet import SNIPPET_CHARACTERS, query_words, snippet

FILLER = "lorem " * 100


def test_short_text_is_its_own_snippet():
    assert snippet("Reset\n\n  the\tpassword.", "anything") == "Reset the password."


def test_passage_with_most_query_words_wins():
    text = f"password {FILLER} reset your password here {FILLER}"
    shown = snippet(text, "reset password")
    assert "reset your password" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")


def test_first_of_equal_passages_wins():
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
def test_snippet_is_a_bounded_passage(text, query):
    flat = " ".join(text.split())
    shown = snippet(text, query).removeprefix("…").removesuffix("…")
    assert shown in flat or "…" in flat
    assert len(shown) <= SNIPPET_CHARACTERS


QUESTION = "how long are logs kept?"
BEFORE = "The service writes a line for each request. " * 12
AFTER = "Backups are another matter, and so are metrics. " * 12
ANSWERS = {
    "behind the question": "How long are logs kept? That is up to the operator. Keep the logs for 30 days.",
    "in other words": "Logs are kept on the host they come from. Nobody reads them twice. Remove them after 30 days.",
    "below a heading": "\n\n## Log retention\n\nIt depends on the disk. Two weeks are too short. Take 30 days.\n\n",
    "in a list": "\n\n- metrics: for ever\n- logs: kept as long as this says:\n  30 days\n\n",
    "hard wrapped": "Logs are kept\nby the collector. It removes what is older\nthan 30 days. ",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(("before", "after"), [(BEFORE, AFTER), ("", AFTER), (BEFORE, "")])
def test_passage_includes_the_answer(answer, before, after):
    assert "30 days" in snippet(f"{before}{answer} {after}", QUESTION)


def test_passage_begins_and_ends_with_sentences():
    shown = snippet(f"{BEFORE}Logs are kept. Then they go after 30 days. {AFTER}", QUESTION).strip("… ")
    assert shown[0].isupper()
    assert shown.endswith(".")


def test_stop_words_do_not_win():
    text = f"How it is that there are long lists of what they have. {BEFORE} Logs go after 30 days. {AFTER}"
    assert "30 days" in snippet(text, QUESTION)


def test_scripts_without_spaces_are_searched_too():
    assert "三十天" in snippet("鲸鱼生活在海里。" * 80 + "日志保留三十天。" + "别的内容很多。" * 80, "日志保留多久")


def test_query_words_are_lower_case_and_long():
    assert query_words("How do I re-set the VPN? Über_3") == ["how", "set", "the", "vpn", "über_3"]
    assert query_words("a b") == []
