"""From a corpus folder or bucket to ``documents`` and ``document_issues``: collections, files, formats, queries.

``collections`` finds the collections, ``source_files`` their files, ``extract`` reads these, and ``ingest`` updates the
tables; ``deletion_guard`` stops it where too much would go. ``metadata`` has the fields of documents, and
``collection_options`` what ``collection.toml`` says. ``queries`` reads queries and judgements, ``beir`` the rows
of a BEIR corpus, ``s3_sync`` copies a corpus from a bucket, and ``file_digest`` notices that files have changed. What a
text is split into belongs to ``chunking``. Others import ``collections``, ``document``, ``file_digest``,
``ingest.Ingest``, ``markdown``, ``queries`` and ``s3_sync``; the other modules serve these.
"""
