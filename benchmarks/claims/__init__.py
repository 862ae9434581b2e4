"""What papers say of an objective or an addition, measured on small pictures: `python -m benchmarks.claims NAME`."""
