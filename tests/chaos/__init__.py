"""Breaks the system on purpose, at seeded moments, and holds the tables against those of an undisturbed run."""
