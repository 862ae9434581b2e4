"""Embed rows: an encoder over all of some data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from .data.source import Source


def embed_rows(
    encoder: nn.Module, views: Any, source: Source, device: torch.device, progress: bool, batch_size: int = 512
) -> np.ndarray:
    """Run an encoder over all rows, in evaluation mode and without gradients."""
    was_training = encoder.training
    encoder.eval()
    out = []
    try:
        with (
            torch.inference_mode(),
            tqdm(total=len(source), unit=" items", disable=not progress, desc="embedding") as bar,
        ):
            for start in range(0, len(source), batch_size):
                rows = source.rows(slice(start, min(start + batch_size, len(source)))).to(device)
                out.append(encoder(views.plain(rows)).float().cpu().numpy())
                bar.update(len(rows))
    finally:
        encoder.train(was_training)
    return np.concatenate(out)
