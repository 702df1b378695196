import hashlib
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from embedder_assets.chunking.chunker import Chunk, Chunker, unwrap
from embedder_assets.corpus.document import Document
from embedder_assets.errors import ModelBuildError, SettingsError
from tests.conftest import PROJECT

MAX_TOKENS = 32
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "install",
    "linux",
    "run",
    "stop",
    "a",
    "b",
    "c",
    "word",
]


def small_tokenizer() -> Tokenizer:
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *WORDS]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory) -> Path:
    tokenizer = small_tokenizer()
    # As real files do, it carries limits that would falsify every count.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    file = tmp_path_factory.mktemp("model") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


@pytest.fixture(scope="session")
def chunker(tokenizer_file) -> Chunker:
    return Chunker(tokenizer_file, MAX_TOKENS)


def document(text: str, media_type: str = "text/markdown") -> Document:
    return Document("kb", "guide.md", text, media_type, len(text), "Guide")


def check(text: str, chunks: list[Chunk], max_tokens: int = MAX_TOKENS) -> None:
    """What holds for the chunks of any text."""
    tokenizer, end = small_tokenizer(), 0
    for index, chunk in enumerate(chunks):
        assert chunk.chunk_index == index
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text.strip()
        read = f"{chunk.table_header}\n{chunk.text}" if chunk.table_header else chunk.text
        assert chunk.token_count == len(tokenizer.encode(read).ids) <= max_tokens
        assert len(chunk.text) <= 16 * max_tokens
        assert not text[end : chunk.start].strip()
        assert chunk.start >= end
        end = chunk.end
    assert not text[end:].strip()


MARKDOWN_MARKS = [
    "# ",
    "## ",
    "### ",
    "\n",
    "\n\n",
    "```\n",
    "- ",
    "> ",
    "    ",
    "| a | b |\n",
    "|---|---|\n",
    "---\n",
    "===\n",
    "[x](y)",
]
TEXTS = ["the quick brown fox ", "word", "é", "漢字", "👩\u200d👩\u200d👧", "x" * 150]
# Where Markdown, Unicode and the tokenizer disagree on what a line end, whitespace or nothing is.
ODD_CHARACTERS = ["\r\n", "\r", "\x0c", "\x1c", "\x85", "\u200b", "\ufdfa", "\u2028", "\0", "[SEP]"]
markdown_pieces = st.sampled_from([*MARKDOWN_MARKS, *TEXTS, *ODD_CHARACTERS])


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.text(), st.lists(st.one_of(markdown_pieces, st.text(max_size=20)), max_size=80).map("".join)),
    media_type=st.sampled_from(["text/markdown", "text/plain"]),
)
def test_chunks_are_exact_bounded_and_complete(chunker, text, media_type):
    check(text, chunker.chunk(document(text, media_type)))


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=300), max_tokens=st.integers(10, 60))
def test_any_budget_holds(tokenizer_file, words, max_tokens):
    text = " ".join(words)
    check(text, Chunker(tokenizer_file, max_tokens).chunk(document(text)), max_tokens)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n", "\u2003\x1c"])
@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain"])
def test_text_of_whitespace_has_no_chunk(chunker, text, media_type):
    assert chunker.chunk(document(text, media_type)) == []


def test_special_tokens_are_part_of_the_budget(chunker):
    full = " ".join(["word"] * (MAX_TOKENS - 2))
    (chunk,) = chunker.chunk(document(full))
    assert chunk.token_count == MAX_TOKENS
    assert len(chunker.chunk(document(full + " word"))) == 2


def test_offsets_count_characters_and_not_bytes(chunker):
    text = "漢字 é 👩 " * 40 + "# x"
    chunks = chunker.chunk(document(text))
    assert len(chunks) > 1
    check(text, chunks)


def test_chunk_begins_at_a_heading_with_its_path(chunker):
    body = " ".join(["word"] * 20)
    text = f"# Guide\n\n{body}\n\n## Install *now*\n\n{body}\n\n### `linux`\n\n{body}\n\n# Other\n\n{body}\n"
    chunks = chunker.chunk(document(text))
    assert [chunk.heading for chunk in chunks] == [
        "Guide",
        "Guide > Install now",
        "Guide > Install now > linux",
        "Other",
    ]
    assert all(chunk.text.startswith("#") for chunk in chunks)


def test_headings_in_code_and_quotes_are_ignored(chunker):
    text = "# Real\n\n```sh\n# comment\n```\n\n> # quoted\n\n    # indented\n\nword"
    assert {chunk.heading for chunk in chunker.chunk(document(text))} == {"Real"}


def test_underlined_headings_count(chunker):
    assert chunker.chunk(document("Guide\n=====\n\nword"))[0].heading == "Guide"


def test_plain_text_has_no_headings(chunker):
    (chunk,) = chunker.chunk(document("# not a heading\n\nword", "text/plain"))
    assert chunk.heading == ""


def test_tiny_sections_share_a_chunk(chunker):
    sections = "".join(f"## {word}\n\nrun\n\n" for word in ("a", "b", "c", "fox", "dog", "install", "linux", "stop"))
    chunks = chunker.chunk(document(f"# Guide\n\n{sections}"))
    assert len(chunks) == 2
    assert [chunk.heading for chunk in chunks] == ["Guide", "Guide"]


def test_larger_sections_do_not_share_a_chunk(chunker):
    body = " ".join(["word"] * 10)
    text = "".join(f"# {title}\n\n{body}\n\n" for title in ("fox", "dog", "linux"))
    assert [chunk.heading for chunk in chunker.chunk(document(text))] == ["fox", "dog", "linux"]


def test_heading_stays_with_its_text(chunker):
    text = "# linux\n\n" + "the quick brown fox jumps over the lazy dog. " * 30 + "\n\n## install\n\n" + "run it. " * 60
    chunks = chunker.chunk(document(text))
    check(text, chunks)
    assert min(chunk.token_count for chunk in chunks) > 5
    for chunk in chunks:
        assert not chunk.text.rstrip().endswith(("# linux", "## install"))


def test_wrapped_paragraphs_are_cut_at_sentences(chunker):
    sentence = "The quick brown fox jumps\nover the lazy dog and the\nquick brown fox. "
    chunks = chunker.chunk(document(sentence * 12))
    check(sentence * 12, chunks)
    assert all(chunk.text.endswith("fox.") for chunk in chunks)


@pytest.mark.parametrize(
    ("text", "unwrapped"),
    [
        ("the fox\njumps\n\nover\n", "the fox jumps\n\nover\n"),
        ("the fox.\nrun", "the fox.\nrun"),
        ("hard  \nbreak\\\nhere", "hard  \nbreak\\\nhere"),
        ("- the fox\n  jumps\n- dog\n", "- the fox   jumps\n- dog\n"),
        ("• fox\n• dog", "• fox\n• dog"),
        ("> fox\n> dog\n", "> fox\n> dog\n"),
        ("a | b\nc | d", "a | b\nc | d"),
        ("```\nfox\ndog\n```", "```\nfox\ndog\n```"),
        ("fox\n===\ndog\nrun", "fox\n===\ndog run"),
    ],
)
def test_only_wrapped_lines_are_joined(text, unwrapped):
    assert unwrap(text) == unwrapped


def test_title_stays_with_its_text(chunker):
    text = "the lazy dog\n\n" + "the quick brown fox jumps over the lazy dog. " * 3 + "run"
    chunks = chunker.chunk(document(text, "text/plain"))
    assert chunks[0].text.startswith("the lazy dog\n\nthe quick")


@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain"])
def test_line_without_spaces_makes_bounded_chunks(chunker, media_type):
    text = "x" * 5_000_000
    chunks = chunker.chunk(document(text, media_type))
    bound = 16 * MAX_TOKENS
    assert sum(len(chunk.text) for chunk in chunks) == len(text)
    assert max(len(chunk.text) for chunk in chunks) == bound
    assert len(chunks) <= 1.1 * len(text) / bound


@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain"])
def test_the_splitter_never_sees_more_than_a_window(chunker, media_type, monkeypatch):
    seen = []

    class Spy:
        def __init__(self, splitter):
            self.splitter = splitter

        def chunk_indices(self, text):
            seen.append(len(text))
            return self.splitter.chunk_indices(text)

    for name in ("_plain", "_markdown"):
        monkeypatch.setattr(chunker, name, Spy(getattr(chunker, name)))
    text = "漢字仮名" * 10_000
    check(text, chunker.chunk(document(text, media_type)))
    # Its time may grow with the square of what it sees, so this bound is what keeps the whole linear.
    assert max(seen) <= 4 * 16 * MAX_TOKENS
    assert sum(seen) <= 2 * len(text)


def test_ids_depend_on_collection_document_index(chunker):
    text = "word " * 100
    first, again = chunker.chunk(document(text)), chunker.chunk(document(text))
    assert first == again
    other = chunker.chunk(Document("kb2", "guide.md", text, "text/markdown", 1, "Guide"))
    assert not {chunk.chunk_id for chunk in first} & {chunk.chunk_id for chunk in other}
    assert len({chunk.chunk_id for chunk in first}) == len(first)
    # A stored id must never change, or every index that holds it goes stale.
    assert first[0].chunk_id == "2fc5ef12-e225-5ea7-9aa0-44ec401f2231"
    assert str(UUID(first[0].chunk_id)) == first[0].chunk_id


def test_the_digest_is_that_of_the_text(chunker):
    (chunk,) = chunker.chunk(document("the quick é"))
    assert chunk.content_sha256 == hashlib.sha256("the quick é".encode()).hexdigest()


def test_a_missing_tokenizer_names_the_remedy(tmp_path):
    with pytest.raises(ModelBuildError, match="embedder models build"):
        Chunker(tmp_path / "tokenizer.json", 256)


def test_a_budget_without_room_for_text_is_refused(tokenizer_file):
    with pytest.raises(SettingsError, match="at least 10"):
        Chunker(tokenizer_file, 9)


def test_real_documents_with_the_built_tokenizer():
    root = PROJECT
    corpus = root.parent / "shared/data/docs/asvs-5.0/en"
    tokenizers = sorted(root.glob("model_repository/*dense*/tokenizer.json"))
    if not tokenizers or not corpus.is_dir():
        pytest.skip("needs a built dense model and the development data (../shared/data)")
    chunker = Chunker(tokenizers[0], 256)
    counts = [chunk.token_count for file in corpus.glob("*.md") for chunk in chunker.chunk(document(file.read_text()))]
    assert max(counts) <= 256
    assert 120 <= sum(counts) / len(counts) <= 220


def test_chunks_know_the_pages_they_are_on(chunker):
    text = "one two three.\n\nthe quick brown fox " + "jumps over " * 20 + "\n\nlazy dog\n"
    paged = Document("kb", "a.pdf", text, "application/pdf", 1, "", pages=(0, 3, 3, text.index("lazy")))
    found = chunker.chunk(paged)
    assert (found[0].page, found[-1].last_page) == (1, 4)
    for chunk in found:
        assert chunk.page == max(n for n, start in enumerate(paged.pages, 1) if start <= chunk.start)
        assert chunk.last_page == max(n for n, start in enumerate(paged.pages, 1) if start < chunk.end)
    assert {(chunk.page, chunk.last_page) for chunk in chunker.chunk(document(text))} == {(None, None)}
