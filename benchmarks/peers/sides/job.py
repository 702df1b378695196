"""What a side is given and what it reports. Imports nothing of this project: sides run in the peers' environment."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

# What a chunk may hold: tokens, and about as many bytes for a splitter that counts those.
CHUNK_TOKENS = 256
CHUNK_BYTES = 1000


@dataclass(frozen=True)
class Job:
    """What all sides get.

    Attributes:
        documents: Folder of Markdown files.
        texts: JSON list of the chunks that our pipeline makes of them.
        checkpoint: Folder of sentence-transformers.
        graphs: Folder with a model folder for each precision, ``fp32``, ``bf16`` and ``int8``: graph and tokenizer.
        precision: Which of them, for sides that read graphs.
        scratch: Empty folder for what the side writes.
    """

    documents: str
    texts: str
    checkpoint: str
    graphs: str
    precision: str
    scratch: str

    @property
    def model(self) -> Path:
        """The model folder of the precision."""
        return Path(self.graphs) / self.precision

    def read_texts(self) -> list[str]:
        """The chunks."""
        texts: list[str] = json.loads(Path(self.texts).read_text("utf-8"))
        return texts

    def write(self, path: Path) -> None:
        """Keeps the job for the side's process."""
        path.write_text(json.dumps(asdict(self)), "utf-8")


def read_job() -> Job:
    """The job that the command line names."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="true")
    return Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))


def report(work: Callable[[], int]) -> None:
    """Does the work, which returns the number of chunks, and says on the last line what it took."""
    started, used = time.perf_counter(), time.process_time()
    chunks = work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "chunks": chunks}), flush=True)
