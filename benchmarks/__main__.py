"""Benchmarks of speed and memory, one table after another: `make bench`."""

from __future__ import annotations

import sys

import torch

from . import loop, ntxent, objectives, views

if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    ntxent.main()
    views.main()
    sys.argv = sys.argv[:1]
    objectives.main()
    sys.exit(loop.main())
