"""Bad input through the whole run: each is named with a remedy, and the rest goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from embedder_assets.tables.store import TableStore
from tests.support.command import Embedder, write

GOOD = "# A good document\n\nIt has something to say about incremental updates.\n"


def encrypted_pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=StandardEncryption("secret", canPrint=0))
    canvas.drawString(100, 700, "hidden words")
    canvas.save()
    return buffer.getvalue()


@pytest.fixture
def bad_corpus(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    mixed = corpus / "mixed"
    write(mixed / "good.md", GOOD)
    write(mixed / "empty.md", "")
    (mixed / "binary.md").write_bytes(bytes(range(256)) * 20)
    (mixed / "latin1.md").write_bytes("# Caf\xe9\n".encode("latin-1"))
    (mixed / "long_line.txt").write_bytes(b"x" * 50_000_000)
    (mixed / "locked.pdf").write_bytes(encrypted_pdf())
    outside = write(tmp_path / "outside.md", "# Not part of the corpus\n")
    (mixed / "link.md").symlink_to(outside)
    (corpus / "nothing").mkdir()
    write(corpus / "other" / "fine.md", GOOD)
    return corpus


def test_bad_documents_are_named_others_embedded(embedder: Embedder, home: Path, bad_corpus: Path) -> None:
    result = embedder("run", "--corpus", str(bad_corpus))
    assert result.returncode == 0, result.stdout + result.stderr
    store = TableStore(home)
    issues = dict(store.read("document_issues", "mixed").select("path", "kind").iter_rows())
    assert issues == {
        "empty.md": "empty",
        "binary.md": "binary",
        "latin1.md": "not_utf8",
        "long_line.txt": "too_large",
        "locked.pdf": "encrypted_pdf",
        "link.md": "symlink_outside_corpus",
    }
    for path in issues:
        assert f"left out mixed/{path}: " in result.stdout
    assert "collection 'nothing' holds no document" in result.stdout
    assert store.read("dense_embeddings", "mixed").height == store.read("chunks", "mixed").height == 1
    assert store.read("chunks", "other").height == 1


def test_long_line_is_chunked_and_embedded(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    (corpus / "lines").mkdir(parents=True)
    (corpus / "lines" / "long.txt").write_bytes(b"word " * 40_000)
    result = embedder("run", "--corpus", str(corpus), "--disable-rerank", "--disable-sparse")
    assert result.returncode == 0, result.stdout
    tokens = TableStore(home).read("chunks", "lines")["token_count"]
    assert tokens.max() <= 256
    assert tokens.sum() > 40_000


def test_a_badly_named_collection_is_reported_and_skipped(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for name in ("good", "__HIVE_DEFAULT_PARTITION__", "a...b"):
        write(corpus / name / "one.md", GOOD)
    result = embedder("run", "--corpus", str(corpus), "--disable-rerank", "--disable-sparse")
    assert result.returncode == 1
    said = " ".join((result.stdout + result.stderr).split())
    assert "collection '__HIVE_DEFAULT_PARTITION__': expected any other name" in said
    assert "collection 'a...b': expected a name" in said
    assert TableStore(home).collections("dense_embeddings") == ["good"]
    chosen = embedder("run", "--corpus", str(corpus), "--collection", "good", "--disable-rerank", "--disable-sparse")
    assert chosen.returncode == 0, chosen.stdout


def test_a_missing_corpus_folder_stops_with_the_remedy(embedder: Embedder, home: Path) -> None:
    result = embedder("run", "--corpus", "/no/such/folder")
    assert result.returncode == 1
    assert "/no/such/folder" in result.stderr
    assert "EMBEDDER_CORPUS_DIR" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (home / "tables").exists()


def test_an_empty_corpus_folder_stops_with_the_remedy(embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = embedder("run", "--corpus", str(tmp_path / "empty"))
    assert result.returncode == 1
    assert "Put documents there" in result.stderr


def test_unknown_collection_lists_the_known_ones(embedder: Embedder, corpus: Path) -> None:
    result = embedder("run", "--corpus", str(corpus), "--collection", "anmals")
    assert result.returncode == 1
    assert "'anmals'" in result.stderr
    assert "animals, tools" in result.stderr


def test_a_wrong_setting_is_named_with_its_source(embedder: Embedder, corpus: Path) -> None:
    result = embedder("run", "--corpus", str(corpus), EMBEDDER_ENABLE_SPARSE="fales")
    assert result.returncode == 1
    assert "env:EMBEDDER_ENABLE_SPARSE" in result.stderr
    assert "fales" in result.stderr


def test_a_triton_that_does_not_answer_is_named(embedder: Embedder, corpus: Path) -> None:
    result = embedder("run", "--corpus", str(corpus), EMBEDDER_TRITON_URL="127.0.0.1:9", EMBEDDER_TRITON_RETRY_S="1")
    assert result.returncode == 1
    assert "Triton at 127.0.0.1:9" in result.stdout


def test_flat_folder_is_one_collection(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    write(tmp_path / "notes" / "one.md", GOOD)
    result = embedder("run", "--corpus", str(tmp_path / "notes"), "--disable-rerank", "--disable-sparse")
    assert result.returncode == 0, result.stdout
    assert TableStore(home).collections("chunks") == ["notes"]


def test_an_empty_corpus_option_is_refused(embedder: Embedder, home: Path) -> None:
    result = embedder("run", "--corpus", "")
    assert result.returncode == 2
    assert "it is empty" in result.stderr
    assert not home.exists()
