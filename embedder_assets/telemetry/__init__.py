"""What a stage reports of its work, and the views of it: spans, metrics, the manifest, the footer.

A stage leaves one record (``stage_record``) in the Dagster event log (``event_log``); everything else is made from it,
so the views cannot disagree. Here belong the record, its views (``spans``, ``footer``, the packages ``exporter`` and
``manifest``), the proof that a scrape has shown them (``emission``), ``progress``, ``run_failures``, and the results of
asset checks per collection (``check_results``). What a stage computes and what a check demands does not. Others may
import every module but ``otlp``, by which ``spans`` are sent.
"""
