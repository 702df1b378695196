"""What a model's tokenizer makes of texts: how many of its tokens say nothing, and how many texts are cut.

A tokenizer has no piece for what its model has never read. WordPiece and Unigram then give the unknown token. Where the
vocabulary has the single letters of an alphabet and no words in it (BERT's English one and Cyrillic, Greek, Hebrew,
Arabic), nothing is unknown and still nothing is understood: each word falls apart into its letters.
"""

from __future__ import annotations

import functools
import itertools
import json
import operator
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from embedder_assets.errors import ModelBuildError

# English has words of one and two letters, and pieces of them.
_SHORTEST_WORD = 3
# Letters, and the marks that belong to them; digits are single in many vocabularies that know them well.
_LETTERS = "LM"


class TokenCounts(NamedTuple):
    """How a tokenizer reads some texts, or pairs of texts; special tokens do not count, except for what is cut.

    Attributes:
        texts: Texts, or pairs.
        truncated: How many of them are longer than the model reads, special tokens included.
        unreadable: Of how many more than half of the tokens are of the last two kinds.
        tokens: Tokens of all of them.
        unknown: How many are the tokenizer's unknown token.
        spelled_out: How many others are a single letter of a word that falls apart into nothing but letters.
    """

    texts: int
    truncated: int
    unreadable: int
    tokens: int
    unknown: int
    spelled_out: int


def load_tokenizer(file: Path) -> Tokenizer:
    """A model's tokenizer, without truncation and padding; others hold it too, so leave it as it is.

    Raises:
        ModelBuildError: It cannot be read.
    """
    return _loaded(file).tokenizer


def count_tokens(file: Path, max_tokens: int, rows: Sequence[tuple[str, ...]]) -> TokenCounts:
    """Counts the tokens of texts, or of pairs of texts.

    Args:
        file: The ``tokenizer.json`` of a model.
        max_tokens: What the model reads at most, special tokens included.
        rows: Tuples of one text or two, as the model gets them: with its prefixes.

    Raises:
        ModelBuildError: The tokenizer cannot be read.
    """
    return _counted(_loaded(file), max_tokens, tuple(rows))


@dataclass(frozen=True)
class _Loaded:
    """A tokenizer with the id of its unknown token. Its JSON stands for it: two tokenizers cannot be compared."""

    json: str
    tokenizer: Tokenizer = field(compare=False)
    unknown: int | None = field(compare=False)


def _loaded(file: Path) -> _Loaded:
    try:
        return _parsed(file.read_text("utf-8"))
    except Exception as error:  # the library raises a bare Exception
        raise ModelBuildError(
            str(file), expected="the tokenizer.json of a model", got=str(error), remedy="Run `embedder models build`."
        ) from error


@functools.lru_cache(maxsize=8)
def _parsed(tokenizer_json: str) -> _Loaded:
    tokenizer: Tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, Unigram):  # which does not say it
        unknown = json.loads(tokenizer_json)["model"]["unk_id"]
    else:  # one without an unknown token has a piece for every byte
        unknown = tokenizer.token_to_id(tokenizer.model.unk_token or "")
    return _Loaded(tokenizer.to_str(), tokenizer, unknown)


# An asset and its check count the same texts, and so do two models of one tokenizer.
@functools.lru_cache(maxsize=64)
def _counted(loaded: _Loaded, max_tokens: int, rows: tuple[tuple[str, ...], ...]) -> TokenCounts:
    unknown = loaded.unknown
    encodings = loaded.tokenizer.encode_batch([row[0] if len(row) == 1 else row for row in rows])
    tokens = [len(encoding) - encoding.word_ids.count(None) for encoding in encodings]
    unknowns = [0 if unknown is None else encoding.ids.count(unknown) for encoding in encodings]
    spelled_out = [_spelled_out(*each, unknown) for each in zip(rows, encodings, strict=True)]
    unread = map(operator.add, unknowns, spelled_out)
    return TokenCounts(
        texts=len(rows),
        truncated=sum(len(encoding) > max_tokens for encoding in encodings),
        unreadable=sum(2 * part > whole for part, whole in zip(unread, tokens, strict=True)),
        tokens=sum(tokens),
        unknown=sum(unknowns),
        spelled_out=sum(spelled_out),
    )


def _spelled_out(row: tuple[str, ...], encoding: Encoding, unknown: int | None) -> int:
    """Tokens of words that fall apart into single letters, the unknown ones left out."""
    found = 0
    offsets, ids = encoding.offsets, encoding.ids
    for word, group in itertools.groupby(range(len(encoding)), encoding.word_ids.__getitem__):
        tokens = list(group)
        # A letter may have the space before it, which may also be a token of its own.
        if word is None or len(tokens) < _SHORTEST_WORD or any(offsets[at][1] - offsets[at][0] > 2 for at in tokens):
            continue
        text = row[encoding.token_to_sequence(tokens[0]) or 0]
        pieces = [(piece, ids[at]) for at in tokens if (piece := text[slice(*offsets[at])].strip())]
        if len(pieces) >= _SHORTEST_WORD and all(_is_letter(piece) for piece, _ in pieces):
            found += sum(index != unknown for _, index in pieces)
    return found


def _is_letter(piece: str) -> bool:
    return len(piece) == 1 and unicodedata.category(piece)[0] in _LETTERS
