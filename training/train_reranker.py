"""Train the reranker on mined candidates. Needs the extra ``export`` (torch and transformers).

A group is a query, one passage that answers it and five of its fused candidates that do not. The loss is the softmax
cross-entropy over the six scores, half of it with the fused rank as a prior, score - a * log(rank) with a learned a:
the model learns to correct the first stage, which it will be combined with, and half without.

    python -m training.train_reranker --mined MINED_FOLDER --init MODEL_FOLDER --out CHECKPOINT_FOLDER
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from training.pools import LEAKING_KINDS, stable_hash, without_title

# Share of the groups, in percent.
WEIGHTS = {
    "squad.question": 30,
    "medquad.question": 12,
    "medquad.topic": 8,
    "nq.question": 14,
    "nq.title": 7,
    "selqa.question": 6,
    "pubmedqa.question": 5,
    "sections.heading": 7,
    "squad.sentence": 3,
    "medquad.sentence": 3,
    "nq.sentence": 2,
    "pubmedqa.sentence": 3,
}
NEGATIVES = 5
HARD_NEGATIVES = 3  # of the first TOP candidates that are not relevant
TOP = 12
NOT_A_CANDIDATE = 45  # stands for the rank of a passage that the first stage did not find
LONGEST_QUERY = 500
HELD_OUT = 12  # one query in so many is for validation
VALIDATION_QUERIES = 30
VALIDATION_CANDIDATES = 20
POOL_BATCHES = 24
WARM_UP_STEPS = 100
HEAD_LEARNING_RATE = 1e-3
MAX_GRADIENT_NORM = 1.0

Group: TypeAlias = tuple[str, list[str], list[int]]  # a query, its passages (the relevant one first), their ranks


@dataclass
class Source:
    """One kind of query of one pool."""

    name: str
    passages: list[str]
    train: list[dict[str, Any]] = field(default_factory=list)
    held_out: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)

    @property
    def leaks(self) -> bool:
        """Whether a positive's rank says nothing, because the first stage has read the query in it."""
        return self.name.endswith(LEAKING_KINDS)

    def passage(self, at: int) -> str:
        """A passage; without its title where titles are asked for."""
        stripped = self.leaks and self.name.startswith("nq.")
        return without_title(self.passages[at]) if stripped else self.passages[at]

    def group(self, rng: random.Random) -> Group:
        """The next query with one positive and its negatives."""
        if not self.queue:
            self.queue = rng.sample(self.train, len(self.train))
        row = self.queue.pop()
        rank = {at: number for number, at in enumerate(row["candidates"], start=1)}
        positive = rng.choice(sorted(row["positives"]))
        wrong = [at for at in row["candidates"] if at not in row["positives"]]
        top, rest = wrong[:TOP], wrong[TOP:]
        negatives = rng.sample(top, min(len(top), HARD_NEGATIVES))
        negatives += rng.sample(rest, min(len(rest), NEGATIVES - HARD_NEGATIVES))
        others = (
            [at for at in range(len(self.passages)) if at not in row["positives"]] if len(wrong) < NEGATIVES else []
        )
        while len(negatives) < NEGATIVES:
            negatives.append(rng.choice(others))
        first = rng.randint(1, TOP) if self.leaks else rank.get(positive, NOT_A_CANDIDATE)
        query = row["query"][:LONGEST_QUERY]
        if rng.random() < 0.1:
            query = query.rstrip(" ?").lower()
        texts = [row["rest"] or self.passage(positive), *map(self.passage, negatives)]
        return query, texts, [first, *(rank.get(at, NOT_A_CANDIDATE) for at in negatives)]


def read_lines(path: Path) -> Iterator[Any]:
    """The rows of a compressed JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load_sources(mined: Path) -> list[Source]:
    """What ``mine_candidates.py`` wrote; every twelfth query, by a hash of its text, is held out."""
    sources = []
    for name in WEIGHTS:
        path = mined / f"{name}.jsonl.gz"
        if path.exists():
            pool = name.split(".")[0]
            source = Source(name, list(read_lines(mined / f"{pool}.passages.jsonl.gz")))
            for row in read_lines(path):
                (source.train if stable_hash(row["query"]) % HELD_OUT else source.held_out).append(row)
            source.held_out = sorted(source.held_out, key=lambda row: stable_hash(row["query"]))[:VALIDATION_QUERIES]
            if source.train:
                sources.append(source)
    return sources


class Collator:
    """Turns pairs into padded int64 tensors: input_ids, attention_mask, token_type_ids."""

    def __init__(self, tokenizer: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        """Encodes pairs."""
        import torch

        encoded = self.tokenizer.encode_batch(list(pairs))
        batch = np.zeros((3, len(encoded), max(map(len, encoded))), np.int64)
        for at, item in enumerate(encoded):
            batch[:, at, : len(item)] = item.ids, item.attention_mask, item.type_ids
        return [torch.from_numpy(column) for column in batch]


def batches(sources: list[Source], size: int, rng: random.Random) -> Iterator[list[Group]]:
    """Batches of groups of similar length, without end."""
    weights = [WEIGHTS[source.name] for source in sources]
    while True:
        drawn = [source.group(rng) for source in rng.choices(sources, weights, k=size * POOL_BATCHES)]
        drawn.sort(key=lambda group: max(len(group[0]) + len(text) for text in group[1]))
        cut = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        rng.shuffle(cut)
        yield from cut


def ndcg(relevant: Sequence[float]) -> float:
    """NDCG@10 of a ranking of candidates, against the best order of the same candidates."""
    discounts = 1 / np.log2(np.arange(2, 12))
    got, best = np.array(relevant[:10]), np.sort(relevant)[::-1][:10]
    return float(got @ discounts[: len(got)] / (best @ discounts[: len(best)]))


def validate(model: Any, collate: Collator, sources: list[Source]) -> dict[str, list[float]]:
    """NDCG@10 on held-out queries by source: of the fused order, of the scores, and of both together."""
    import torch

    model.eval()
    figures: dict[str, list[float]] = {}
    for source in sources:
        rows = []
        for row in [] if source.leaks else source.held_out:
            candidates = row["candidates"][:VALIDATION_CANDIDATES]
            relevant = [float(at in row["positives"]) for at in candidates]
            if any(relevant):
                pairs = [(row["query"], source.passages[at]) for at in candidates]
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    scores = model(*collate(pairs)).float().numpy()
                prior = -np.log(np.arange(1, len(candidates) + 1))
                orders = [np.argsort(-each, kind="stable") for each in (prior, scores, scores + prior)]
                rows.append([ndcg([relevant[at] for at in order]) for order in orders])
        if rows:
            figures[source.name] = [round(float(value), 4) for value in np.mean(rows, axis=0)]
    model.train()
    return figures


def train(args: argparse.Namespace) -> None:
    """Trains until the time or the patience is used up; the checkpoint with the best validation figure is kept."""
    import torch

    from training.interaction_ranker import InteractionRanker

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)
    sources = load_sources(args.mined)
    if not any(source.held_out and not source.leaks for source in sources):
        raise SystemExit(f"{args.mined} has no held-out queries to validate on: it needs more mined queries")
    collate = Collator(args.init / "tokenizer.json", args.max_tokens)
    model = InteractionRanker.start(args.init, args.layers)
    prior = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = make_optimizer(model, prior, args.learning_rate)
    started, losses, best, since = time.monotonic(), [], 0.0, 0
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "log.jsonl").open("w", encoding="utf-8") as log:
        due = args.validate_minutes
        for step, groups in enumerate(batches(sources, args.batch, rng), start=1):
            minutes = (time.monotonic() - started) / 60
            progress = min(1.0, max(minutes / args.minutes, step / args.steps))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * min(step / WARM_UP_STEPS, 1.0) * (1 - progress)
            losses.append(train_step(model, prior, optimizer, collate, groups))
            if step % args.log_every == 0 or progress >= 1:
                row = {"step": step, "queries": step * args.batch, "minutes": round(minutes, 1)}
                write_row(log, row | {"loss": np.round(np.mean(losses, axis=0), 4).tolist()})
                losses.clear()
            if minutes > due or progress >= 1:
                figures = validate(model, collate, sources)
                mean = [round(float(value), 4) for value in np.mean(list(figures.values()), axis=0)]
                write_row(log, {"step": step, "minutes": round(minutes, 1), "validation": mean, "sources": figures})
                since = 0 if mean[-1] > best else since + 1
                if since == 0:
                    best = mean[-1]
                    model.save(args.out, args.init / "tokenizer.json")
                due = minutes + args.validate_minutes
                if since >= args.patience or progress >= 1:
                    return


def make_optimizer(model: Any, prior: Any, rate: float) -> Any:
    """AdamW: the pretrained encoder learns slowly, what is new quickly."""
    import torch

    parts: dict[bool, list[Any]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[name.startswith("bert.")].append(parameter)
    rates = {True: rate, False: HEAD_LEARNING_RATE}
    parts[False].append(prior)
    groups = [
        {"params": params, "lr": rates[pretrained], "peak": rates[pretrained]} for pretrained, params in parts.items()
    ]
    return torch.optim.AdamW(groups, weight_decay=0.01)


def train_step(model: Any, prior: Any, optimizer: Any, collate: Collator, groups: list[Group]) -> tuple[float, float]:
    """Takes one step and returns the loss without and with the prior."""
    import torch

    pairs = [(query, text) for query, texts, _ in groups for text in texts]
    ranks = torch.tensor([ranks for *_, ranks in groups], dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(*collate(pairs)).view(-1, 1 + NEGATIVES)
    first = torch.zeros(len(groups), dtype=torch.long)
    alone = torch.nn.functional.cross_entropy(scores, first)
    combined = torch.nn.functional.cross_entropy(scores - prior * torch.log(ranks), first)
    optimizer.zero_grad()
    (0.5 * alone + 0.5 * combined).backward()
    torch.nn.utils.clip_grad_norm_([*model.parameters(), prior], MAX_GRADIENT_NORM)
    optimizer.step()
    return float(alone.detach()), float(combined.detach())


def write_row(log: Any, row: dict[str, Any]) -> None:
    """One line of the log."""
    print(json.dumps(row), file=log, flush=True)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the reranker on mined candidates.")
    parser.add_argument("--mined", type=Path, required=True, help="folder that mine_candidates.py wrote")
    parser.add_argument("--init", type=Path, required=True, help="folder of the BERT model to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=12, help="queries in a step")
    parser.add_argument("--max-tokens", type=int, default=184)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    parser.add_argument("--minutes", type=float, default=85, help="the learning rate falls to 0 until then")
    parser.add_argument("--steps", type=int, default=10**9, help="the same in steps; for the same weights twice")
    parser.add_argument("--validate-minutes", type=float, default=10)
    parser.add_argument("--patience", type=int, default=4, help="validations without gain that end the run")
    parser.add_argument("--log-every", type=int, default=25, help="steps between two lines of the log")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=13)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train(parse_args())
