"""From a corpus folder or bucket to ``documents`` and ``document_issues``: collections, files, formats, queries.

What a text is split into belongs to ``chunking``.
"""
