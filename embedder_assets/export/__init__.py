"""From tables to files for other systems, in a folder or a bucket."""
