"""The metadata of documents: what each one says of itself, and what ``metadata.jsonl`` of its collection adds.

``values`` has the types of a field and makes them of what a reader returns, ``rules`` reads ``metadata.jsonl``,
``fields`` infers the schema of a collection, and ``resolver`` makes of all this the columns ``metadata`` and ``public``
of ``documents``. What a file says is the business of ``corpus/extract``; filters belong to ``retrieval``.
"""
