"""From a corpus folder or bucket to ``documents`` and ``document_issues``: collections, files, formats, queries.

What a text is cut into belongs to ``chunking``.
"""
