"""Pools of passages with queries that some of them answer: what the reranker is trained on.

Answers alone teach a model little about topical queries. So queries are taken from all that a corpus gives: questions
with their answers, a topic with every answer about it, the title of an article, the heading of a section, and a
sentence whose passage is left without it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

# Queries that carry their own answer's words exactly, so the rank of their positive says nothing.
LEAKING_KINDS = ("title", "sentence")
LONGEST_QUERY = 600
SHORTEST_SECTION = 250
LONGEST_SECTION = 1200
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9])")
TITLED = re.compile(r"^([^.]{2,80})\.\s+(.{80,})$", re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?)\n(.*?)(?=^#|\Z)", re.DOTALL | re.MULTILINE)
TOPIC = re.compile(
    r"^(?:What is \(are\)|What are the (?:symptoms|treatments|genetic changes|causes|complications) "
    r"(?:of|for|related to)|What causes|How to (?:diagnose|prevent)|Is|Who is at risk for|How many people are affected "
    r"by|What is the outlook for|What research \(or clinical trials\) is being done for|Do you have information about)"
    r"\s+(.+?)(?:\s+inherited)?\s*\?*$"
)
USUAL_HEADINGS = """
summary|motivation|drawbacks|alternatives|unresolved questions|detailed design|prior art|rationale and alternatives|
future possibilities|guide-level explanation|reference-level explanation|unresolved|reference level explanation|
guide level explanation|future work|how we teach this
""".replace("\n", "").split("|")


@dataclass(frozen=True)
class TrainingQuery:
    """A query; ``positives`` are positions in its pool, ``rest`` stands for the positive where that held the query."""

    query: str
    positives: list[int]
    rest: str | None = None


@dataclass
class Pool:
    """Passages of one source, and kinds of queries about them."""

    name: str
    passages: list[str]
    queries: dict[str, list[TrainingQuery]] = field(default_factory=dict)


Pairs: TypeAlias = dict[str, list[str]]


def stable_hash(text: str) -> int:
    """A number of a text that is the same in every process."""
    return int(hashlib.md5(text.encode()).hexdigest()[:8], 16)


def duplicate_key(text: str) -> str:
    """What identifies a passage across editions: its first letters and digits."""
    return re.sub(r"\W+", "", text)[:150]


def read_pairs(path: Path) -> tuple[Pairs, list[str]]:
    """Query to relevant passages, and all passages that are not relevant to theirs."""
    positives: Pairs = defaultdict(list)
    others: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["label"]:
                positives[row["query"]].append(row["passage"])
            else:
                others.append(row["passage"])
    return dict(positives), others


def question_pool(name: str, pairs: Pairs, others: Iterable[str], limit: int, rng: random.Random) -> Pool:
    """The passages of some questions, filled up with others to ``limit``."""
    places: dict[str, int] = {}
    queries = []
    for query in rng.sample(list(pairs), len(pairs)):
        wanted = list(dict.fromkeys(pairs[query]))
        new = [passage for passage in wanted if passage not in places]
        if len(places) + len(new) <= limit or not new:
            for passage in new:
                places[passage] = len(places)
            queries.append(TrainingQuery(query, [places[passage] for passage in wanted]))
    for passage in others:
        if len(places) < limit:
            places.setdefault(passage, len(places))
    return Pool(name, list(places), {"question": queries})


def topics(pairs: Pairs, pool: Pool) -> list[TrainingQuery]:
    """MedQuAD asks several questions about a disease: its name, with the answers to all of them."""
    places = {passage: position for position, passage in enumerate(pool.passages)}
    found: dict[str, set[int]] = defaultdict(set)
    for query, passages in pairs.items():
        if match := TOPIC.match(query):
            found[match.group(1).strip()] |= {places[passage] for passage in passages if passage in places}
    return [TrainingQuery(topic, sorted(at)) for topic, at in found.items() if len(at) >= 2]


def titles(pool: Pool) -> list[TrainingQuery]:
    """The titles that passages begin with ("Wild card (sports). 1980 …"), with every passage of the article."""
    found: dict[str, list[int]] = defaultdict(list)
    for at, passage in enumerate(pool.passages):
        if match := TITLED.match(passage):
            found[match.group(1)].append(at)
    return [TrainingQuery(title, at) for title, at in found.items() if len(at) <= 8]


def without_title(passage: str) -> str:
    """A passage without the title it begins with."""
    match = TITLED.match(passage)
    return match.group(2) if match else passage


def sections(folder: Path, limit: int, rng: random.Random) -> Pool:
    """Sections of Markdown files, with their headings as queries; a file's name is a query for all of its sections."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.md")):
        title = path.stem.split("-", 1)[-1].replace("-", " ")
        for match in HEADING.finditer(path.read_text("utf-8")):
            heading, body = re.sub(r"[`*\[\]]", "", match.group(1)).strip(), match.group(2).strip()
            if len(body) > SHORTEST_SECTION:
                found[title, heading].append(body[:LONGEST_SECTION])
    places: dict[str, int] = {}
    by_title: dict[str, list[int]] = defaultdict(list)
    queries = []
    for title, heading in rng.sample(list(found), min(limit, len(found))):
        for body in found[title, heading][:2]:
            at = places.setdefault(body, len(places))
            by_title[title].append(at)
            if heading.lower() not in USUAL_HEADINGS and len(heading) > 8:
                queries.append(TrainingQuery(heading, [at]))
    queries += [TrainingQuery(title, at) for title, at in by_title.items() if len(at) >= 2]
    return Pool("sections", list(places), {"heading": queries})


def sentences(pool: Pool, count: int, rng: random.Random) -> Iterator[TrainingQuery]:
    """Sentences as queries for the rest of their passage: the first one, or any."""
    for at in rng.sample(range(len(pool.passages)), min(count, len(pool.passages))):
        parts = SENTENCE.split(without_title(pool.passages[at]) if pool.name == "nq" else pool.passages[at])
        chosen = rng.randrange(len(parts)) if rng.random() < 0.6 else 0
        if len(parts) >= 4 and 40 <= len(parts[chosen]) <= 300:
            yield TrainingQuery(parts[chosen], [at], " ".join(parts[:chosen] + parts[chosen + 1 :]))
