"""``sparse_embeddings``: weighted vocabulary entries a chunk, computed in Triton only where they are missing."""

import dagster as dg

from embedder_assets.assets.chunks import chunks
from embedder_assets.assets.embedding import embed_collection
from embedder_assets.assets.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.pipeline import Pipeline
from embedder_assets.stages.sparse import SparseEncoder
from embedder_assets.telemetry.record import StageMeter


@collection_asset(deps=[chunks], group_name="vectors", kinds={"triton", "delta"})
def sparse_embeddings(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """The vocabulary entries that a chunk is about, weighted, by the SPLADE model in Triton."""
    model = pipeline.settings.sparse_model

    def work(collection: str, meter: StageMeter) -> Metadata:
        encoder = SparseEncoder(model, pipeline.triton.fingerprint(model, "sparse"))
        metadata = embed_collection(pipeline, [encoder], collection, meter)
        meter.attributes["coverage_ratio"] = min(meter.coverage.values())
        return metadata

    yield from materialize_stage(context, pipeline, "sparse", work, toggle="enable_sparse")
