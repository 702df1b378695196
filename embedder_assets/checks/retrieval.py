"""The quality gate, which keeps worse rankings from being exported, and what an approximate index has to find."""

from collections.abc import Sequence

from embedder_assets.checks import approximate, quality
from embedder_assets.checks.blocking import blocking_checks
from embedder_assets.checks.verdict import Rule

QUALITY_RULES: Sequence[Rule] = [quality.reranked_not_below_fused, quality.quality_not_below_baseline]

retrieval_checks = [
    blocking_checks("evaluation", QUALITY_RULES),
    blocking_checks("dense_index", [approximate.graph_finds_the_exact_neighbours]),
]
