"""``processing_summary.json``, the manifest of a run: its schema, how it is built, written, validated and read.

``schema`` defines it, ``summarize`` and ``sections`` fill it from stage records, ``json_schema`` publishes the JSON
Schema and names what does not fit, ``file`` writes and finds manifests, ``v40`` reads those of v4.0, which an earlier
system wrote. The manifest of an export is the matter of ``export``. Others use ``summarize.summarize_run``, ``file``
and ``schema.Manifest``.
"""
