"""fastembed: ``embed`` over all chunks, with a custom model from a local folder. The model is loaded before."""

from __future__ import annotations

from benchmarks.peers.sides.job import read_job, report

NAME = "local/minilm"
DIMENSION = 384


def main() -> None:
    """Times one encoding with the graph of the job's precision, which pools by itself."""
    job = read_job()
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf=NAME),
        dim=DIMENSION,
        model_file="1/model.onnx",
    )
    model = TextEmbedding(NAME, specific_model_path=str(job.model))
    list(model.embed(["warm"] * 8))
    texts = job.read_texts()
    report(lambda: sum(1 for _ in model.embed(texts)))


if __name__ == "__main__":
    main()
