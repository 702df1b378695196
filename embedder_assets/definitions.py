"""The Dagster code location: assets, checks, jobs, sensors, schedules and the resource. Loading it starts nothing."""

from __future__ import annotations

import dagster as dg

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.dense_embeddings import dense_embeddings
from embedder_assets.assets.dense_index import dense_index
from embedder_assets.assets.documents import documents
from embedder_assets.assets.evaluation import evaluation
from embedder_assets.assets.exports import exports
from embedder_assets.assets.fused_candidates import fused_candidates
from embedder_assets.assets.processing_summary import processing_summary
from embedder_assets.assets.queries import queries
from embedder_assets.assets.reranked_candidates import reranked_candidates
from embedder_assets.assets.sparse_embeddings import sparse_embeddings
from embedder_assets.assets.table_maintenance import table_maintenance
from embedder_assets.automation.jobs import maintenance, rag_tables
from embedder_assets.automation.schedules import nightly_maintenance, nightly_refresh
from embedder_assets.automation.sensors import collection_changes, downstream_tables, lost_runs
from embedder_assets.automation.shards import shard_vectors, sharded_collections
from embedder_assets.checks.data import data_checks
from embedder_assets.checks.telemetry import telemetry_checks
from embedder_assets.resources import PipelineResource

defs = dg.Definitions(
    assets=[
        documents,
        chunks,
        dense_embeddings,
        sparse_embeddings,
        queries,
        fused_candidates,
        dense_index,
        reranked_candidates,
        evaluation,
        exports,
        processing_summary,
        table_maintenance,
    ],
    asset_checks=[*data_checks, telemetry_checks],
    jobs=[rag_tables, shard_vectors, maintenance],
    schedules=[nightly_refresh, nightly_maintenance],
    sensors=[collection_changes, downstream_tables, lost_runs, sharded_collections],
    resources={"pipeline": PipelineResource()},
    # All steps in one process: they share one Triton, and a step costs milliseconds instead of a second.
    executor=dg.in_process_executor,
)
