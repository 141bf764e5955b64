"""How fast the suite is, next to the bare tools, and what its own work costs: ``python -m benchmarks.run``."""
