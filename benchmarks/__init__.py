"""Speed and memory, as ratios against peers in one run. `python -m benchmarks` prints every table."""
