"""Random damage to small documents of every format: ``make soak NAME=fuzz``."""
