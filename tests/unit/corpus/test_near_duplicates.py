"""The table ``near_duplicates``: which documents say nearly the same, and how little an update computes."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from embedder_assets.corpus import near_duplicates
from embedder_assets.corpus.near_duplicates import count_duplicates, group_members, signatures, update_near_duplicates
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.factories import make_documents

WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "nrst"]
FOOTER = "All rights reserved by the makers of pumps. Imprint, privacy and terms of use. Contact the office in Town. "
INVOICE = (
    "Invoice {} of {} May. Customer number 77120. Delivery address Main Street 5, 12345 Town. Item: pump seal kit, "
    "quantity 2. Payment within 30 days to the account named below. Thank you for your order. Example Pumps Ltd, "
    "registered office Town, court of registration Town, number 123, managing director on request."
)


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path / "home")


def prose(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def groups(store: TableStore) -> dict[str, str]:
    """Document to the first of its group, of those that are in one."""
    return dict(group_members(store, "kb").sort("doc_id").iter_rows())


def update(store: TableStore, **texts: str):
    store.replace("documents", "kb", make_documents(**texts))
    return update_near_duplicates(store, "kb")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"Updated 3 May 2021. {prose(1)}", f"Updated 17 June 2024. {prose(1)}"),
        (f"{prose(1, 400)} {FOOTER}", f"{prose(1, 400)} Printed by the intranet for a user on a Monday."),
        (f"# Guide\n\n{prose(1)}", f"Guide: {prose(1).upper()}!"),
        (INVOICE.format(4151, 3), INVOICE.format(4168, 9)),
        (" ".join(prose(seed, 60) for seed in range(20)), " ".join(prose(seed, 60) for seed in range(1, 21))),
        ("yes", "Yes."),
        (prose(1), prose(1)),
    ],
)
def test_near_equal_documents_are_a_group(store, one, other):
    assert update(store, a=one, b=other).duplicates == 1
    assert groups(store) == {"a.md": "a.md", "b.md": "a.md"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (prose(1), prose(2)),
        (f"{FOOTER}{prose(1, 60)}", f"{FOOTER}{prose(2, 60)}"),
        (f"Quiz of the week. Choose an answer. {prose(1, 40)}", f"Quiz of the week. Choose an answer. {prose(2, 40)}"),
        (prose(1), f"{prose(1)} {prose(2, 150)}"),
        ("yes", "no"),
        ("!!!", "???"),
        ("!!!", "!!!"),
    ],
)
def test_documents_that_share_a_frame_are_no_group(store, one, other):
    assert update(store, a=one, b=other).duplicates == 0
    assert groups(store) == {}


def test_twelve_copies_are_one_group(store):
    copies = {f"c{number:02}": f"Printed on day {number}. {prose(1)}" for number in range(12)}
    others = {f"o{number}": prose(100 + number) for number in range(30)}
    outcome = update(store, **others, **copies)
    assert (outcome.groups, outcome.duplicates) == (1, 11)
    assert set(groups(store).values()) == {"c00.md"}
    rows = store.read("near_duplicates", "kb")
    assert rows.height == 42
    assert rows["similarity"].min() >= near_duplicates.MIN_SIMILARITY
    assert count_duplicates(store, "kb") == 11


def test_no_group_is_a_chain(store):
    """Each edition differs from the one before by little, and the last from the first by half."""
    texts = {f"v{number:02}": " ".join(prose(seed, 40) for seed in range(number, number + 20)) for number in range(12)}
    update(store, **texts)
    found = groups(store)
    assert found["v01.md"] == "v00.md"
    assert found.get("v11.md") not in {"v00.md", "v01.md"}


def test_second_run_computes_and_writes_nothing(store, monkeypatch):
    update(store, a=prose(1), b=prose(1), c=prose(2))
    version = store.version("near_duplicates")
    monkeypatch.setattr(near_duplicates, "signatures", lambda _: pytest.fail("a signature was computed"))
    monkeypatch.setattr(near_duplicates, "_regroup", lambda *_: pytest.fail("groups were looked for"))
    assert update_near_duplicates(store, "kb").duplicates == 1
    assert store.version("near_duplicates") == version


def test_only_changed_texts_are_signed(store, monkeypatch):
    update(store, a=prose(1), b=prose(1), c=prose(2))
    signed: list[str] = []

    def counted(texts: list[str]) -> near_duplicates.Signatures:
        signed.extend(texts)
        return signatures(texts)

    monkeypatch.setattr(near_duplicates, "signatures", counted)
    assert update(store, a=prose(1), b=prose(3), c=prose(2), d=prose(2)).signed == 2
    assert signed == [prose(3), prose(2)]
    assert groups(store) == {"c.md": "c.md", "d.md": "c.md"}


def test_deleted_first_document_leaves_a_group_of_the_rest(store):
    update(store, a=prose(1), b=prose(1), c=prose(1))
    assert update(store, b=prose(1), c=prose(1)).signed == 0
    assert groups(store) == {"b.md": "b.md", "c.md": "b.md"}
    update(store, c=prose(1))
    assert groups(store) == {}
    update(store)
    assert store.read("near_duplicates", "kb").height == 0


def test_order_of_arrival_makes_no_difference(store, tmp_path):
    texts = {f"d{number:02}": f"{prose(number // 4)} {prose(number, 10 * (number % 4))}" for number in range(40)}
    update(store, **texts)
    other = TableStore(tmp_path / "other")
    names = list(texts)
    random.Random(0).shuffle(names)
    for count in (13, 27, 40):
        update(other, **{name: texts[name] for name in names[:count]})
    columns = ["doc_id", "representative", "similarity", "signature"]
    first, second = (each.read("near_duplicates", "kb", columns).sort("doc_id") for each in (store, other))
    assert first.equals(second)


def test_run_that_was_killed_before_grouping_is_completed(store, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(near_duplicates, "_regroup", lambda *_: None)
        update(store, a=prose(1), b=prose(1))
    assert groups(store) == {}
    assert update_near_duplicates(store, "kb").signed == 0
    assert groups(store) == {"a.md": "a.md", "b.md": "a.md"}


def test_rows_of_other_rules_are_made_anew(store, monkeypatch):
    update(store, a=prose(1), b=prose(1))
    monkeypatch.setattr(near_duplicates, "SIGNING_VERSION", "next")
    assert update_near_duplicates(store, "kb").signed == 2
    assert store.read("near_duplicates", "kb")["signing"].str.starts_with("next/").all()


def test_collections_do_not_mix(store):
    store.replace("documents", "other", make_documents("other", a=prose(1)))
    update(store, b=prose(1))
    assert update_near_duplicates(store, "other").duplicates == 0
    assert groups(store) == {}


def test_signatures_are_the_same_in_another_process():
    code = (
        "from embedder_assets.corpus.near_duplicates import signatures\n"
        "print(signatures(['one two three four', 'Größe 漢字 9', '']).tobytes().hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
            cwd=PROJECT,
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1


def test_estimates_are_near_the_true_similarity():
    errors = []
    for seed in range(40):
        common, own = prose(seed, 300), [prose(1000 + 2 * seed + side, 40) for side in (0, 1)]
        texts = [f"{common} {each}" for each in own]
        sets = [{tuple(words[at : at + 3]) for at in range(len(words) - 2)} for words in map(str.split, texts)]
        one, other = signatures(texts)
        errors.append((one == other).mean() - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06


def test_thousand_copies_cost_little(store):
    texts = {f"d{number:04}": f"{prose(1, 100)} {number}" for number in range(1000)}
    assert update(store, **texts).duplicates == 999
    assert pl.Series(list(groups(store).values())).n_unique() == 1


def test_long_text_is_signed_piece_by_piece(monkeypatch):
    text = prose(1, 3000)
    (whole,) = signatures([text])
    monkeypatch.setattr(near_duplicates, "_PIECE_CHARACTERS", 1000)
    monkeypatch.setattr(near_duplicates, "_MOST_WORDS", 10)
    (pieces,) = signatures([text])
    # A word that a cut divides is another one.
    assert (whole == pieces).mean() > 0.95
    monkeypatch.setattr(near_duplicates, "_PIECE_CHARACTERS", len(text))
    assert (signatures([text])[0] == whole).all()
