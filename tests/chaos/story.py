"""The log of the suite: what was done, and what came out, for people and for machines."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

SENTENCE_CHARACTERS = 200


@dataclass
class Round:
    """What was done in one round, and what came out.

    Attributes:
        fault: Its kind.
        hit: Whether it struck before the run ended.
        edits: What was done to the corpus before.
        done: What the fault did, and when.
        status: Exit status of the run that it struck; below 0 for the signal that killed it.
        said: What that run said of it, where it failed.
        mended: What an operator did then, besides restoring what the fault took.
        next: What the undisturbed run after it computed.
        rebuilt: Whether all tables were compared with a rebuild.
        problems: What should not be.
    """

    number: int
    fault: str
    hit: bool = True
    edits: list[str] = field(default_factory=list)
    done: str = ""
    status: int = 0
    said: str = ""
    mended: str = ""
    next: str = ""
    rebuilt: bool = False
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def report(self) -> str:
        """A paragraph for people."""
        said = f": {self.said[:SENTENCE_CHARACTERS]}" if self.said else ""
        lines = [f"{self.number:3} {self.fault} ({self.seconds:.0f} s)"]
        if self.edits:
            lines.append(f"    edits: {', '.join(self.edits)}")
        lines.append(
            f"    {self.done}" + ("" if self.hit or not self.edits else "; it came too late and does not count")
        )
        lines.append(f"    exit status {self.status}{said}")
        lines += [f"    {self.mended}"] if self.mended else []
        lines += [f"    next run: {self.next}"] if self.next else []
        lines += ["    compared with a rebuild"] if self.rebuilt else []
        return "\n".join(lines + [f"    PROBLEM: {problem}" for problem in self.problems])


class Story:
    """Writes the rounds to standard output, to ``story.txt`` and, one per line, to ``story.jsonl``."""

    def __init__(self, folder: Path, seed: int, faults: int) -> None:
        self.folder = folder
        self._seed = seed
        self._rounds: list[Round] = []
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("story.txt", "story.jsonl"):
            (folder / name).unlink(missing_ok=True)
        self._say(f"seed {seed}: repeat with make soak NAME=chaos FAULTS={faults} SEED={seed}; the log is in {folder}")

    def add(self, each: Round) -> None:
        """Adds a round."""
        self._rounds.append(each)
        self._say(each.report())
        with (self.folder / "story.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seed": self._seed, **asdict(each)}, ensure_ascii=False) + "\n")

    def ends_well(self) -> bool:
        """Tells the sums by kind of fault; whether nothing was lost or wrong."""
        kinds: dict[str, list[Round]] = defaultdict(list)
        for each in self._rounds:
            kinds[each.fault].append(each)
        self._say(f"{'fault':<32} struck  late  runs that failed  problems")
        for kind, rounds in sorted(kinds.items()):
            struck = [each for each in rounds if each.hit]
            failed = sum(1 for each in struck if each.status)
            problems = sum(len(each.problems) for each in rounds)
            self._say(f"{kind:<32} {len(struck):6} {len(rounds) - len(struck):5} {failed:17} {problems:9}")
        problems = sum(len(each.problems) for each in self._rounds)
        struck = sum(1 for each in self._rounds if each.hit)
        outcome = (
            f"{problems} PROBLEMS" if problems else "nothing lost, nothing twice, nothing wrong, nothing left over"
        )
        self._say(f"{struck} faults, seed {self._seed}: {outcome}")
        return not problems

    def _say(self, text: str) -> None:
        print(text, flush=True)
        with (self.folder / "story.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def computed(home: Path) -> str:
    """What the newest run of a home computed, from its manifest."""
    try:
        manifest = json.loads((home / "runs" / "latest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "no manifest"
    sections = {"dense vectors": "dense_run", "sparse vectors": "sparse_run", "pairs": "rerank_run"}
    counts = {
        words: ((manifest.get(name) or {}).get("items") or {}).get("computed", 0) for words, name in sections.items()
    }
    return "computed " + ", ".join(f"{count} {words}" for words, count in counts.items())
