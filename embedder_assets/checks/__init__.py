"""Asset checks: what must hold after each asset, in every run. A failed one stops everything downstream."""
