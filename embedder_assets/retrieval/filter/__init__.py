"""Which chunks a search may answer with: a condition on the fields of their documents, and permissions.

``grammar`` reads a condition, ``conditions`` says which chunks meet it, over the typed ``fields`` that ``documents``
takes from the table; ``permissions`` has the rule who may see a document. ``chunk_filter`` puts them together for a
search, and ``filtered_index`` restricts the index before anything is ranked. How chunks are ranked belongs to the
folder above; where metadata comes from, to ``corpus``. Others import ``chunk_filter.ChunkFilter``.
"""
