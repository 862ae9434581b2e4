"""Embed rows: an encoder over all of some data, in this process or in several."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from .data.source import Source
from .errors import ConfigError
from .training.launching import launch
from .training.team import Team, check_devices


def embed_rows(
    encoder: nn.Module,
    views: Any,
    source: Source,
    device: torch.device,
    progress: bool,
    batch_size: int = 512,
    devices: int = 1,
    exact: bool = False,
) -> np.ndarray:
    """Run an encoder over all rows, in evaluation mode and without gradients; (N, D) in the order of the rows.

    With `exact` each row is encoded by itself: its vector is then the same bits whatever it stands beside and whatever
    the batch size, where otherwise products of matrices of other shapes round in other ways.

    With several devices each process of its own takes consecutive batches, the same ones as one process would make
    while there are enough for all; the vectors are then those of one process, to rounding, and to the bit where each
    process has as many threads as the one.

    Raises:
        ConfigError: there are not so many devices or rows.
    """
    if devices == 1:
        return _embedded(encoder, views, source, _batches(len(source), batch_size), device, progress, exact)
    check_devices(devices, device)
    if devices > len(source):
        raise ConfigError(f"devices = {devices}, but there are {len(source)} rows to embed; ask for fewer")
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        job = {"encoder": encoder.cpu(), "views": views, "source": source, "kind": device.type, "folder": folder}
        batch_size = min(batch_size, -(-len(source) // devices))
        job |= {"batch_size": batch_size, "progress": progress, "exact": exact}
        launch(f"{__name__}:embed_share", job, devices)
        return np.concatenate([np.load(Path(folder, f"{rank}.npy"), allow_pickle=False) for rank in range(devices)])


def embed_share(
    encoder: nn.Module,
    views: Any,
    source: Source,
    kind: str,
    folder: str,
    batch_size: int,
    progress: bool,
    exact: bool = False,
) -> None:
    """Embed this process's share of the batches into a file of the folder."""
    team, device = Team.here(), torch.device(kind)
    batches = _batches(len(source), batch_size)
    own = batches[team.share(len(batches))]
    vectors = _embedded(encoder.to(device), views, source, own, device, progress and team.first, exact)
    np.save(Path(folder, f"{team.rank}.npy"), vectors)


def _batches(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _embedded(
    encoder: nn.Module,
    views: Any,
    source: Source,
    batches: list[slice],
    device: torch.device,
    progress: bool,
    exact: bool,
) -> np.ndarray:
    was_training = encoder.training
    encoder.eval()
    out = []
    count = sum(batch.stop - batch.start for batch in batches)
    try:
        with torch.inference_mode(), tqdm(total=count, unit=" items", disable=not progress, desc="embedding") as bar:
            for batch in batches:
                rows = source.rows(batch).to(device)
                parts = [rows[row : row + 1] for row in range(len(rows))] if exact else [rows]
                out += [encoder(views.plain(part).to(device)).float().cpu().numpy() for part in parts]
                bar.update(len(rows))
    finally:
        encoder.train(was_training)
    return np.concatenate(out or [np.empty((0, encoder.width), dtype=np.float32)])
