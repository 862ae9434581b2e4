"""Run: python -m benchmarks.claims NAME [--seeds 3] [--steps N] [--pictures docs/images]

Without a name, the names. The bundled clothes as 8 x 8 pixels and a net of two hidden layers of 256 (see
`benchmarks/little.py`), AdamW at 1e-3 with a cosine, one thread; the class of a test picture is voted by its 20 nearest
training pictures. Intervals (95 %) resample test pictures and seeds; differences are paired over test pictures.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import torch

CLAIMS = {  # the file, and how many steps by default
    "isogclr": ("individual", 1000),
    "groco": ("ordering", 400),
    "moco_dual": ("queue", 100),
    "amcl": ("heads", 150),
    "feature_transform": ("hardened", 120),
    "mochi": ("hardened", 120),
    "invp": ("walks", 400),
    "polyview": ("many", 200),
    "encouraging": ("softmax", 150),
    "ncl": ("softmax", 150),
    "hib": ("hedging", 300),
    "debiased": ("corrections", 150),
    "macl": ("corrections", 100),
    "supremix": ("angles", 300),
    "conr": ("angles", 400),
    "icnn": ("unseen", 200),
    "ecaml": ("unseen", 200),
    "novel": ("unseen", 200),
    "asl": ("boards", 300),
    "nw_head": ("supports", 300),
    "msc": ("anomalies", 100),
    "simsiam": ("siamese", 300),
    "hydra_simlap": ("gates", 60),
    "mi_bounds": ("bounds", 100),
    "moco": ("versions", 80),
    "align_uniform": ("spread", 100),
    "cacr": ("spread", 60),
    "icon": ("frames", 40),
    "decoupled_uniformity": ("frames", 50),
    "dense": ("dense", 80),
}


def main() -> None:
    """One claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(CLAIMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pictures", type=Path, help="folder for the plots, as SVG; none are drawn without it")
    parser.add_argument("--data", type=Path, help="folder of pictures with masks, for dense alone")
    chosen = parser.parse_args()
    file, steps = CLAIMS[chosen.name]
    chosen.steps = chosen.steps or steps
    torch.set_num_threads(1)
    import_module(f"benchmarks.claims.{file}").main(chosen)


if __name__ == "__main__":
    main()
