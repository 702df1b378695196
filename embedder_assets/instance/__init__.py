"""What we add to a Dagster instance, and what we take from Dagster's private modules.

``sqlite_event_log`` opens instances and keeps the connections of their event log, ``compute_logs`` shows what steps
print, ``storage_errors`` says what is wrong with the storage, ``job_origin`` makes runs appear in the UI; ``run_lock``
and ``lost_runs`` find runs whose process has died, and ``celery_launcher`` starts runs as tasks. Private names of
Dagster are imported from ``dagster_private`` and nowhere else. Others may import every module but ``compute_logs`` and
``celery_launcher``, which Dagster loads by name. Tables, models, stages and their telemetry do not belong here.
"""
