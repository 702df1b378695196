"""Random histories of a home: whatever is done to it, its tables are those of a rebuild and search answers."""
