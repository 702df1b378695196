"""What the pipeline does, free of Dagster."""
