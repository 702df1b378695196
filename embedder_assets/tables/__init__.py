"""The Delta Lake tables: their schemas, and how rows are read, replaced, added and deleted.

``schemas`` has the columns, ``store`` reads and writes rows, ``transaction`` does work on a collection exclusively,
``staging`` keeps computed rows until they are published, ``digest_ranges`` splits a collection into parts, ``history``
reads and restores earlier versions, and ``maintenance`` compacts and removes them. These seven are for others, as are
the errors of a bucket in ``object_store``; the rest serves them: where the tables are (``storage``, ``local_storage``,
``s3_storage``, ``time_travel``), ``locks``, ``frames``, ``arrow_stream`` and ``file_errors``. What the rows of a table
mean and when they are stale belongs to the stage that writes it; the classes of errors are in the top-level ``errors``.
"""
