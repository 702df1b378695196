"""Makes a corpus of made-up documents, and changes it at random, always the same way from the same seed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

WORDS = [f"{first}{second}{third}" for first in "bdfklm" for second in "aeiou" for third in ("ra", "nto", "lish", "p")]


def prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def document(chance: random.Random, number: int) -> str:
    parts = [f"# Topic {number} {prose(chance, 3)}\n\n{prose(chance, 80)}\n"]
    parts += [f"## Part {part} of {number} {prose(chance, 2)}\n\n{prose(chance, 160)}\n" for part in range(4)]
    return "\n".join(parts)


class Editor:
    """Changes a corpus at random: a folder of files, and a BEIR collection.

    Attributes:
        untouched: Files and folders that no change looks at.
    """

    def __init__(self, corpus: Path, seed: int, kept: dict[str, str] | None = None) -> None:
        """Makes the corpus; ``kept`` are rows that no change touches, id to text."""
        self.chance = random.Random(seed)
        self.files = corpus / "files"
        self.rows_file = corpus / "rows" / "corpus.jsonl"
        self.rows: dict[str, str] = {}
        self.kept = kept or {}
        self.untouched: set[Path] = set()
        self.made = 0
        for _ in range(12):
            self.add()
            self.add_row()
        self.write_rows()

    def change(self) -> str:
        """One operation, which is named; three documents are always left, since losing all of them is refused."""
        kinds = [self.add, self.edit, self.append, self.copy, self.rename, self.delete]
        kinds += [self.add_row, self.edit_row, self.delete_row]
        kind = self.chance.choice(kinds)
        kind()
        self.write_rows()
        return kind.__name__.replace("_", " ")

    def any_file(self) -> Path:
        return self.chance.choice(sorted(filter(self._may_touch, self.files.rglob("*.md"))))

    def new_path(self) -> Path:
        self.made += 1
        folders = [self.files / name for name in ("", "deep", "deep/er", "bare/leaf")]
        path = self.chance.choice(list(filter(self._may_touch, folders))) / f"{self.made:04}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self) -> None:
        path = self.new_path()
        path.write_text(document(self.chance, self.made), "utf-8")

    def edit(self) -> None:
        path = self.any_file()
        lines = path.read_text("utf-8").splitlines()
        lines[self.chance.randrange(len(lines))] = prose(self.chance, 20)
        path.write_text("\n".join(lines) + "\n", "utf-8")

    def append(self) -> None:
        with self.any_file().open("a", encoding="utf-8") as file:
            file.write(f"\n## Added\n\n{prose(self.chance, 60)}\n")

    def copy(self) -> None:
        shutil.copy(self.any_file(), self.new_path())

    def rename(self) -> None:
        self.any_file().rename(self.new_path())

    def delete(self) -> None:
        if len(list(self.files.rglob("*.md"))) > 3:
            self.any_file().unlink()

    def add_row(self) -> None:
        self.made += 1
        self.rows[f"r{self.made}"] = prose(self.chance, 50)

    def edit_row(self) -> None:
        self.rows[self.chance.choice(sorted(self.rows))] = prose(self.chance, 50)

    def delete_row(self) -> None:
        if len(self.rows) > 3:
            del self.rows[self.chance.choice(sorted(self.rows))]

    def write_rows(self) -> None:
        rows = {**self.kept, **self.rows}
        lines = [json.dumps({"_id": name, "title": f"Row {name}", "text": text}) for name, text in rows.items()]
        self.rows_file.parent.mkdir(parents=True, exist_ok=True)
        self.rows_file.write_text("\n".join(lines) + "\n", "utf-8")

    def _may_touch(self, path: Path) -> bool:
        return self.untouched.isdisjoint([path, *path.parents])
