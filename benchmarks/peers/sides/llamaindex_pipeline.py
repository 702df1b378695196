"""LlamaIndex: a folder through an IngestionPipeline into a stored index. Model and splitter are loaded before."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.sides.job import CHUNK_TOKENS, read_job, report


def main(dtype: str = "float32") -> None:
    """Times reading, splitting, embedding and storing."""
    job = read_job()
    import torch
    from llama_index.core import SimpleDirectoryReader
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.vector_stores import SimpleVectorStore
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(job.checkpoint) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    splitter = SentenceSplitter(
        # The splitter does not count the two special tokens.
        chunk_size=CHUNK_TOKENS - 2,
        chunk_overlap=0,
        include_metadata=False,
        tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
    )
    embedding = HuggingFaceEmbedding(
        model_name=job.checkpoint, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)}
    )
    embedding.get_text_embedding_batch(["warm"] * 8)
    store = SimpleVectorStore()
    pipeline = IngestionPipeline(transformations=[splitter, embedding], vector_store=store)

    def work() -> int:
        nodes = pipeline.run(documents=SimpleDirectoryReader(job.documents).load_data())
        store.persist(str(Path(job.scratch) / "vectors.json"))
        return len(nodes)

    report(work)


if __name__ == "__main__":
    main()
