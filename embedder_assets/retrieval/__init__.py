"""From vectors to rankings: search in an index, fusion of rankings, reranking, and the hybrid search of a user's query.

``exact_index`` and ``hnsw_index`` find the nearest chunks, ``query_embeddings`` asks the models about queries,
``fusion`` joins the rankings, ``rerank`` asks the cross-encoder and ``rerank_score`` computes the final score;
``search`` puts them together over what ``consistent_view`` reads from the tables, ``filter`` keeps out what a condition
or permissions exclude, and ``snippet`` picks the passage to show. ``cross_validation`` learns the weights of both
scores from judged queries, with ``weight_fitting``; ``ranking_weights`` keeps them, ``weights_in_use`` says which hold.
A formula that joins rankings belongs to ``fusion_score``, next to reciprocal rank fusion; another kind of index next to
``hnsw_index``. How chunks get their vectors belongs to ``embedding``, how good a ranking is to ``evaluation``. Others
import the stages ``FuseStage``, ``RerankStage`` and ``HnswIndexStage`` from their modules, ``search.Search``,
``exact_index.ChunkIndex``, ``query_embeddings.QueryEncoder``, ``consistent_view.needed_versions`` and
``snippet.query_words``; ``rerank_score`` serves ``rerank``, and benchmarks.
"""
