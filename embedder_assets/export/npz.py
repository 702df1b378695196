"""Writes NumPy's ``.npz`` format block by block: ``numpy.savez`` wants whole arrays.

The format is NumPy's own, "numpy.lib.format" in its documentation: a ZIP archive of one ``.npy`` file per array.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def write_npz(path: Path, arrays: Mapping[str, tuple[tuple[int, ...], Any, Iterable[NDArray[Any]]]]) -> None:
    """Writes arrays that ``numpy.load`` reads; the same arrays give the same bytes.

    Args:
        path: The file.
        arrays: Name to shape, dtype, and blocks that make up the array along its first axis.
    """
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, (shape, data_type, blocks) in arrays.items():
            # Without a time of writing, so that a digest tells whether the content is the same.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                header = {"descr": np.dtype(data_type).str, "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
                for block in blocks:
                    file.write(np.ascontiguousarray(block, data_type).tobytes())
