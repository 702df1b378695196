"""The dashboard 'Retrieval quality'."""

from monitoring.grafana.panels.panel import CHOSEN, COVERAGE, FALLBACKS, Dashboard, Panel, Query, Row

RETRIEVAL = Dashboard(
    "embedder-retrieval",
    "Retrieval quality",
    "Do the tables still find the right passages, and what does each ranking add? Collections with judged queries.",
    (
        Row(
            "Now",
            (
                Panel(
                    "nDCG@10, reranked",
                    "Mean of the chosen collections at their newest evaluation.",
                    "none",
                    (Query(f'avg(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})', "nDCG@10"),),
                    kind="stat",
                ),
                Panel(
                    "Gain of reranking",
                    "nDCG@10 of the reranked order less that of the fused one.",
                    "none",
                    (
                        Query(
                            f'avg(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})'
                            f' - avg(rag_retrieval_ndcg_at_10{{ranking="fused",{CHOSEN}}})',
                            "gain",
                        ),
                    ),
                    kind="stat",
                ),
                Panel(
                    "Below the week's best",
                    "The largest fall of a collection. RetrievalQualityDrop fires above 0.05.",
                    "none",
                    (
                        Query(
                            f'max(max_over_time(rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}}[7d])'
                            f' - rag_retrieval_ndcg_at_10{{ranking="reranked",{CHOSEN}}})',
                            "fall",
                        ),
                    ),
                    kind="stat",
                    warn=0.05,
                ),
            ),
        ),
        Row(
            "Over time",
            (
                *(
                    Panel(
                        f"nDCG@10, {ranking}",
                        f"Of the {ranking} ranking, at each evaluation.",
                        "none",
                        (Query(f'rag_retrieval_ndcg_at_10{{ranking="{ranking}",{CHOSEN}}}', "{{collection}}"),),
                    )
                    for ranking in ("reranked", "fused", "dense", "sparse")
                ),
                Panel(
                    "nDCG@10, mean of each ranking",
                    "Over the chosen collections.",
                    "none",
                    (Query(f"avg by (ranking) (rag_retrieval_ndcg_at_10{{{CHOSEN}}})", "{{ranking}}"),),
                ),
            ),
        ),
        Row(
            "What may have moved it",
            (
                Panel(
                    "Rows of chunks",
                    "A fall without deletions in the corpus is a loss.",
                    "short",
                    (Query(f'rag_table_rows{{table="chunks",{CHOSEN}}}', "{{collection}}"),),
                ),
                Panel(
                    "Sparse coverage",
                    "Chunks without a vector are not found by the sparse ranking.",
                    "percentunit",
                    (COVERAGE,),
                    warn=1,
                    less_is_worse=True,
                ),
                Panel(
                    "Rerank fallbacks",
                    "Runs in the last hour in which the fused order stood in.",
                    "short",
                    (FALLBACKS,),
                ),
                Panel(
                    "Chunks computed in the last hour",
                    "A model, tokenizer or chunking rule that has changed computes everything again.",
                    "short",
                    (Query('rag:stage_items:increase1h{outcome="computed",stage=~"chunk|dense|sparse"}', "{{stage}}"),),
                ),
            ),
        ),
    ),
)
