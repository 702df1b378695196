"""Breaks the system on purpose, at seeded moments, and compares the tables with those of an undisturbed run."""
