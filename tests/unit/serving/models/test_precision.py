"""Which precision a build is in where its description leaves that open."""

from __future__ import annotations

import pytest

from embedder_assets.serving.models.precision import choose, cpu_flags, recorded_choice

WITH_AMX = {"avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}
WITHOUT_AMX = {"avx512f", "avx512_bf16", "avx512_vnni"}


@pytest.mark.parametrize(
    ("stage", "flags", "openvino", "shared_tables", "precision", "said"),
    [
        ("dense", WITH_AMX, True, False, "bf16", "this CPU has AMX"),
        ("dense", WITHOUT_AMX, True, False, "int8", ""),
        ("dense", set(), True, False, "int8", ""),
        ("sparse", WITH_AMX, True, False, "int8", ""),
        ("rerank", WITH_AMX, True, False, "int8", ""),
        ("dense", WITH_AMX, False, False, "int8", "`pip install openvino`"),
        ("dense", WITHOUT_AMX, False, False, "int8", ""),
        ("dense", WITH_AMX, True, True, "int8", "EMBEDDER_TABLES_URL"),
        ("dense", WITHOUT_AMX, True, True, "int8", ""),
    ],
)
def test_flags_of_the_cpu_choose(stage, flags, openvino, shared_tables, precision, said):
    choice = choose(stage, flags, openvino=openvino, shared_tables=shared_tables)
    assert choice.precision == precision
    assert said in choice.reason
    assert bool(said) == bool(choice.reason)


def test_flags_are_read_from_the_kernel(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu amx_bf16 avx2\nbugs\t: x\n\nprocessor\t: 1\nflags\t: fpu\n")
    assert cpu_flags(cpuinfo) == {"fpu", "amx_bf16", "avx2"}
    cpuinfo.write_text("Features\t: fp asimd\n")
    assert cpu_flags(cpuinfo) == cpu_flags(tmp_path / "missing") == frozenset()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"auto_precision": "bf16"}', "bf16"),
        ('{"fingerprint": "f"}', None),
        ('{"auto_precision": "fp8"}', None),
        ('{"auto_precision": ["bf16"]}', None),
        ("[]", None),
        ("{", None),
    ],
)
def test_only_a_readable_choice_counts(tmp_path, content, expected):
    assert recorded_choice(tmp_path) is None
    (tmp_path / "build.json").write_text(content)
    assert recorded_choice(tmp_path) == expected
