"""Train a small cross-encoder on question-passage pairs.

One group is a question, one passage that answers it and three that do not; the loss is the softmax cross-entropy over
the four scores. Needs the extra ``torch``. A run that reaches its time limit depends on the machine's speed: for the
same weights twice, give it a limit it does not reach.

    python training/train_reranker.py --data ../shared/data/train --init MODEL_FOLDER --out CHECKPOINT_FOLDER
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

NEGATIVES = 3
POOL_GROUPS = 1024
VALIDATION_QUESTIONS = 200
VALIDATION_PASSAGES = 10
MAX_GRADIENT_NORM = 1.0
FIRST_SENTENCE = re.compile(r"^(.{30,200}?[.?!])\s+(?=\S.{200,})", re.DOTALL)

Group: TypeAlias = tuple[str, list[str]]  # a query and its passages, the relevant one first


@dataclass
class Question:
    """A query with its passages by label."""

    query: str
    positives: list[str] = field(default_factory=list)
    negatives: list[str] = field(default_factory=list)


@dataclass
class Source:
    """One training file; its questions come in a new random order on each pass."""

    name: str
    questions: list[Question]
    passages: list[str]
    queue: list[Question] = field(default_factory=list)

    def group(self, rng: random.Random, first_sentence_share: float) -> Group:
        """Draw the next question with one positive and its negatives, filled up from the whole source."""
        if not self.queue:
            self.queue = rng.sample(self.questions, len(self.questions))
        question = self.queue.pop()
        query, positive = question.query, rng.choice(question.positives)
        negatives = rng.sample(question.negatives, min(NEGATIVES, len(question.negatives)))
        while len(negatives) < NEGATIVES:
            passage = rng.choice(self.passages)
            if passage not in question.positives:
                negatives.append(passage)
        # Answers alone teach nothing about topical queries; an opening sentence stands in for a title.
        if rng.random() < first_sentence_share and (match := FIRST_SENTENCE.match(positive)):
            query, positive = match.group(1), positive[match.end() :]
        return query, [positive, *negatives]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a compressed JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def load_source(path: Path) -> Source:
    """Group a file's rows by query and keep the queries that have a positive."""
    shared: dict[str, str] = {}
    questions: dict[str, Question] = {}
    for row in read_rows(path):
        question = questions.setdefault(row["query"], Question(row["query"]))
        passage = shared.setdefault(row["passage"], row["passage"])
        (question.positives if row["label"] else question.negatives).append(passage)
    usable = [question for question in questions.values() if question.positives]
    return Source(path.name.removesuffix(".jsonl.gz"), usable, list(shared))


def validation_groups(folder: Path, seed: int) -> list[Group]:
    """Build a fixed set of questions, each with its passage, that passage's neighbours and random others."""
    rows = [row for path in sorted(folder.glob("*.jsonl.gz")) for row in read_rows(path)]
    order = list(dict.fromkeys(row["passage"] for row in rows))
    place = {passage: i for i, passage in enumerate(order)}
    rng = random.Random(seed)
    groups = []
    for row in rng.sample([row for row in rows if row["label"]], VALIDATION_QUESTIONS):
        here = place[row["passage"]]
        near = [order[i % len(order)] for i in (here - 2, here - 1, here + 1, here + 2)]
        chosen = dict.fromkeys([row["passage"], *near])
        while len(chosen) < VALIDATION_PASSAGES:
            chosen.setdefault(rng.choice(order))
        groups.append((row["query"], list(chosen)))
    return groups


class Encoder:
    """Turns groups into padded batches of pairs, groups of similar length together."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(path))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens, strategy="only_second")

    def batches(self, groups: list[Group], size: int) -> list[dict[str, Any]]:
        """Encode groups and cut them, sorted by their longest pair, into batches of ``size`` groups."""
        # A query as long as the limit would leave no room for its passage.
        pairs = [(query[:400], passage) for query, passages in groups for passage in passages]
        encoded = self.tokenizer.encode_batch(pairs)
        width = len(groups[0][1])
        rows = [encoded[i : i + width] for i in range(0, len(encoded), width)]
        rows.sort(key=lambda row: max(len(pair) for pair in row))
        return [self.pad(rows[i : i + size]) for i in range(0, len(rows), size)]

    @staticmethod
    def pad(rows: list[list[Any]]) -> dict[str, Any]:
        """Make the three input tensors of a batch, the pairs of a group side by side."""
        import torch

        pairs = [pair for row in rows for pair in row]
        batch = np.zeros((3, len(pairs), max(len(pair) for pair in pairs)), dtype=np.int64)
        for i, pair in enumerate(pairs):
            batch[:, i, : len(pair)] = pair.ids, pair.attention_mask, pair.type_ids
        names = ("input_ids", "attention_mask", "token_type_ids")
        return dict(zip(names, torch.from_numpy(batch), strict=True))


def training_batches(sources: list[Source], encoder: Encoder, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield batches without end, sources drawn by the square root of their size so that none drowns the rest."""
    rng = random.Random(args.seed)
    weights = [math.sqrt(len(source.questions)) for source in sources]
    while True:
        drawn = rng.choices(sources, weights, k=POOL_GROUPS)
        batches = encoder.batches([source.group(rng, args.first_sentence_share) for source in drawn], args.batch)
        rng.shuffle(batches)
        yield from batches


def mean_reciprocal_rank(model: Any, batches: list[dict[str, Any]]) -> float:
    """Score the validation groups and return the mean of one over the positive's rank."""
    import torch

    model.eval()
    ranks: list[float] = []
    with torch.no_grad():
        for batch in batches:
            scores = model(**batch).logits.view(-1, VALIDATION_PASSAGES)
            ranks += (scores >= scores[:, :1]).sum(1).tolist()
    model.train()
    return float(np.mean([1 / rank for rank in ranks]))


def train(args: argparse.Namespace) -> None:
    """Train, log to ``log.jsonl`` and keep the checkpoint with the best validation figure."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model = BertForSequenceClassification.from_pretrained(args.init, num_labels=1)
    encoder = Encoder(args.init / "tokenizer.json", args.max_tokens)
    sources = [load_source(path) for path in sorted(args.data.glob("*.jsonl.gz"))]
    validation = encoder.batches(validation_groups(args.data / "validation", args.seed), size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01)
    shutil.copy(args.init / "tokenizer.json", args.out / "tokenizer.json")
    steps, start, best, losses = args.questions // args.batch, time.monotonic(), 0.0, []
    with (args.out / "log.jsonl").open("w", encoding="utf-8") as log:
        for step, batch in enumerate(training_batches(sources, encoder, args), start=1):
            spent = (time.monotonic() - start) / 60
            progress = max(step / steps, spent / args.time_limit_minutes)
            rate = args.learning_rate * min(step / (0.05 * steps), max(0.0, 1 - progress))
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses.append(train_step(model, optimizer, batch))
            done = progress >= 1
            if done or step % args.log_every == 0:
                mrr = mean_reciprocal_rank(model, validation)
                if better := mrr > best:
                    best = mrr
                    model.save_pretrained(args.out)
                row = {"step": step, "questions": step * args.batch, "minutes": round(spent, 2)}
                row |= {"loss": round(float(np.mean(losses)), 4), "learning_rate": round(rate, 7)}
                row |= {"validation_mrr": round(mrr, 4), "saved": better}
                print(json.dumps(row), file=log, flush=True)
                losses.clear()
            if done:
                return


def train_step(model: Any, optimizer: Any, batch: dict[str, Any]) -> float:
    """Take one step on a batch of groups and return its loss."""
    import torch

    scores = model(**batch).logits.view(-1, 1 + NEGATIVES)
    loss = torch.nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small cross-encoder on question-passage pairs.")
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl.gz and validation/")
    parser.add_argument("--init", type=Path, required=True, help="folder of a BERT model to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--questions", type=int, default=120_000)
    parser.add_argument("--batch", type=int, default=16, help="questions in a step")
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--first-sentence-share", type=float, default=0.2)
    parser.add_argument("--log-every", type=int, default=200, help="steps between two lines of the log")
    parser.add_argument("--time-limit-minutes", type=float, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=13)
    return parser.parse_args()


if __name__ == "__main__":
    train(parse_args())
