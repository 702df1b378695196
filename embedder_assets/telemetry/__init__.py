"""What a stage reports of its work, and the views of it: spans, metrics, the manifest, the footer.

A stage leaves one record (``stage_record``) in the Dagster event log (``event_log``); everything else is made from it,
so the views cannot disagree. Here belong the record, its views, and the results of asset checks per collection
(``check_results``); what a stage computes and what a check demands does not. Others use ``stage_record.StageMeter``,
``event_log``, ``footer``, ``run_failures`` and the packages ``exporter`` and ``manifest``.
"""
