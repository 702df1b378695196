"""The blocking data checks of every table, one Dagster op a table, made from the rules."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from embedder_assets.checks import rules
from embedder_assets.partitions import collections_of_run
from embedder_assets.pipeline import Pipeline

Rule = Callable[[Pipeline, str], str | None]

RULES: dict[str, Sequence[Rule]] = {
    "documents": [rules.unique_document_ids],
    "chunks": [rules.unique_chunk_ids, rules.offsets_reproduce_text, rules.within_token_budget],
    "dense_embeddings": [
        rules.dense_coverage,
        rules.dense_unit_vectors,
        rules.one_fingerprint_per_model_in("dense_embeddings"),
    ],
    "sparse_embeddings": [
        rules.sparse_coverage,
        rules.sparse_weights,
        rules.one_fingerprint_per_model_in("sparse_embeddings"),
    ],
    "fused_candidates": [rules.fused_every_query],
    "reranked_candidates": [rules.reranked_every_query],
    "exports": [rules.export_digests],
}
TOGGLES = {"sparse_embeddings": "enable_sparse", "reranked_candidates": "enable_rerank"}


def _checks_of(table: str, table_rules: Sequence[Rule]) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(rule.__name__, asset=table, description=rule.__doc__, blocking=True) for rule in table_rules
    ]

    @dg.multi_asset_check(name=f"check_{table}", specs=specs)
    def check(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        names = collections_of_run(context.instance, context.run)
        toggle = TOGGLES.get(table)
        off = toggle is not None and not getattr(pipeline.settings, toggle)
        for rule in table_rules:
            problems = {} if off else {name: rule(pipeline, name) for name in names}
            found = {name: problem for name, problem in problems.items() if problem}
            yield dg.AssetCheckResult(
                asset_key=table,
                check_name=rule.__name__,
                passed=not found,
                description="; ".join(f"{name}: {problem}" for name, problem in found.items())
                or ("the stage is off, its table was not touched" if off else None),
                metadata={"collections": names, **found},
            )

    return check


data_checks = [_checks_of(table, table_rules) for table, table_rules in RULES.items()]
