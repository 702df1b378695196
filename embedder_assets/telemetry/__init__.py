"""The record a stage leaves, and its views: spans, metrics, manifest, footer."""
