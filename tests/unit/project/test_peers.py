import json
import subprocess
import sys

import pytest

from benchmarks.common.mixed_corpus import write_mixed_corpus
from benchmarks.peers import run
from benchmarks.peers.idle import verdict
from benchmarks.peers.report import ratios, render, seconds
from benchmarks.peers.sides.job import Job

OURS = {"seconds": 10.0, "cpu": 15.0, "chunks": 100, "step": {"dense_embeddings": 8.0}}
JOB = Job(documents="d", texts="t", checkpoint="c", graphs="g", precision="", scratch="")


def other(**values: float) -> dict[str, float]:
    return {"seconds": 40.0, "cpu": 60.0, "chunks": 120, **values}


def result(*rounds: dict[str, object]) -> dict[str, object]:
    return {
        "documents": "60 documents",
        "machine": "one",
        "default": "int8",
        "versions": {"torch": "1"},
        "loads": [1.0 for _ in rounds],
        "rounds": list(rounds),
        "errors": {"fastembed fp32": "ImportError: gone"},
    }


def test_a_ratio_is_taken_within_a_round():
    slow = {"ours int8": {**OURS, "seconds": 100.0}, "LlamaIndex fp32": other(seconds=400.0)}
    quick = {"ours int8": OURS, "LlamaIndex fp32": other()}
    pipelines = ("ours int8", seconds), ("LlamaIndex fp32", seconds)
    assert ratios([slow, quick, {"ours int8": OURS}], *pipelines) == [4.0, 4.0]


def test_table_shows_verdicts_and_missing_sides():
    table = render(result({"ours int8": OURS, "LlamaIndex fp32": other(), "CocoIndex fp32": other(seconds=30.0)}))
    assert "| documents to dense table / LlamaIndex fp32, same documents | 4.00 (4.00 to 4.00) | - | - |" in table
    assert "documents to dense table, ours int8 / LlamaIndex fp32: 4.00, at least 3.5: holds" in table
    assert "documents to dense table, ours int8 / CocoIndex fp32: 3.00, at least 3.5: DOES NOT HOLD" in table
    assert "fastembed fp32 does not run here: ImportError: gone" in table


def test_bf16_has_bounds_of_its_own():
    sides = {
        "ours bf16": OURS,
        "LlamaIndex fp32": other(),
        "sentence-transformers bf16": other(chunks=400, seconds=40.0),
    }
    table = render({**result(sides), "default": "bf16"})
    assert "documents to dense table, ours bf16 / LlamaIndex fp32: 4.00, at least 4.5: DOES NOT HOLD" in table
    assert "dense asset, ours bf16 / sentence-transformers bf16: 1.25, at least 1.35: DOES NOT HOLD" in table


def test_machine_names_the_flags_that_matter(monkeypatch):
    monkeypatch.setattr(run, "cpu_flags", lambda: frozenset({"amx_bf16", "avx2", "fpu"}))
    assert "(amx_bf16 avx2), " in run.machine()
    assert run.default_precision() == "bf16"


def test_dense_asset_is_compared_with_embedding_peers():
    table = render(result({"ours int8": OURS, "bare loop int8": other(seconds=9.0, chunks=100)}))
    assert "| dense asset / bare loop of its precision | 1.12 (1.12 to 1.12) | - | - |" in table


def test_missing_peer_is_named_and_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "PEERS", tmp_path / "no" / "python")
    errors: dict[str, str] = {}
    found = run.one_round(["CocoIndex fp32", "fastembed fp32"], JOB, tmp_path, errors)
    assert not found
    assert all("FileNotFoundError" in error for error in errors.values())
    assert len(errors) == 2
    assert "CocoIndex fp32: does not run" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit('no torch')", "no torch"), ("print('?')", "JSON")])
def test_failed_side_is_named_by_its_last_line(tmp_path, monkeypatch, code, expected):
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: real([sys.executable, "-c", code], **options))
    errors: dict[str, str] = {}
    assert run.run_side("ours int8", JOB, tmp_path, errors) is None
    assert expected in errors["ours int8"]


def test_last_output_line_is_the_result(tmp_path, monkeypatch):
    real = subprocess.run
    code = f"print('loading'); print({json.dumps(json.dumps(other()))})"
    monkeypatch.setattr(subprocess, "run", lambda _, **options: real([sys.executable, "-c", code], **options))
    assert run.run_side("ours int8", JOB, tmp_path, {}) == other()


def test_empty_update_is_compared_with_its_bound():
    assert verdict([(3.0, 2.0), (4.0, 2.0), (9.0, 2.0)]).endswith("ratio 2.00 (1.50 to 4.50), at most 2.5: holds")
    assert verdict([(6.0, 2.0)]).endswith("DOES NOT HOLD")


def test_a_mixture_is_a_collection_of_markdown_files(tmp_path):
    said = write_mixed_corpus(tmp_path / "mixture", 6, queries=True)
    assert said.startswith("6 documents of ")
    files = [path for path in (tmp_path / "mixture").iterdir() if path.suffix == ".md"]
    assert len(files) == 6
    assert all(path.read_text("utf-8").strip() for path in files)
