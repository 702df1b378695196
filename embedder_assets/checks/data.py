"""The checks of what every table, index and export must hold, and the quality gate before an export."""

from collections.abc import Sequence

from embedder_assets.checks import hnsw_index, quality_gate, rules, tokenization
from embedder_assets.checks.blocking import blocking_checks
from embedder_assets.checks.finding import Rule
from embedder_assets.checks.proof import TOGGLES
from embedder_assets.telemetry.event_log import ASSET_OF_STAGE

RULES: dict[str, Sequence[Rule]] = {
    "documents": [rules.unique_document_ids],
    "chunks": [
        rules.unique_chunk_ids,
        rules.offsets_reproduce_text,
        rules.every_document_has_chunks,
        rules.within_token_budget,
    ],
    "dense_embeddings": [
        rules.dense_coverage,
        rules.dense_unit_vectors,
        rules.one_fingerprint_per_model_in("dense_embeddings"),
        tokenization.model_reads_text_of(lambda settings: settings.dense_models),
    ],
    "sparse_embeddings": [
        rules.sparse_coverage,
        rules.sparse_weights,
        rules.one_fingerprint_per_model_in("sparse_embeddings"),
        tokenization.model_reads_text_of(lambda settings: [settings.sparse_model]),
    ],
    "fused_candidates": [rules.fused_every_query, tokenization.models_read_queries],
    "reranked_candidates": [rules.reranked_every_query],
    "exports": [rules.export_digests],
}
# The quality gate: worse rankings are not exported.
QUALITY_RULES: Sequence[Rule] = [quality_gate.final_not_below_best_part, quality_gate.quality_not_below_baseline]
TOGGLE_OF_ASSET = {ASSET_OF_STAGE[stage]: toggle for stage, toggle in TOGGLES.items()}

data_checks = [
    *(blocking_checks(table, table_rules, TOGGLE_OF_ASSET.get(table)) for table, table_rules in RULES.items()),
    blocking_checks("evaluation", QUALITY_RULES),
    blocking_checks("dense_index", [hnsw_index.hnsw_index_finds_exact_neighbours]),
]
