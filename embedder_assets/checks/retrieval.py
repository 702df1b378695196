"""The quality gate: checks of `evaluation` that keep worse rankings from being exported."""

from collections.abc import Sequence

from embedder_assets.checks import quality
from embedder_assets.checks.blocking import blocking_checks
from embedder_assets.checks.verdict import Rule

QUALITY_RULES: Sequence[Rule] = [quality.reranked_not_below_fused, quality.quality_not_below_baseline]

retrieval_checks = [blocking_checks("evaluation", QUALITY_RULES)]
