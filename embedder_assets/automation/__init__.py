"""What starts runs without a person: jobs, schedules and sensors.

``changes`` decides, free of Dagster, which collections need a run; ``sensors`` and ``schedules`` request the runs;
``shards`` embeds a large collection on several workers. Launching in this process is the matter of ``run``.
``definitions`` imports all of it, others ``jobs.rag_tables``.
"""
