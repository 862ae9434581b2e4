"""How good generated pictures are as views of what they were made of, by the feature maps of any frozen encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .data import bundled
from .data.source import ArraySource, Source
from .errors import ConfigError
from .evaluation.maps import feature_map
from .modalities.images.generated import Found, find_generated, quality_file
from .models.foreground import Foreground, noise_level
from .opening import open_run
from .run import Run, save, shown

FITTED = 256  # pictures of the data whose cells say what is foreground
BLOCK = 128  # pairs at a time
SEEN = 12  # worst and best pairs on the page


@dataclass(frozen=True)
class Judged:
    """What was found of M generated pictures.

    Attributes:
        encoder: whose maps were looked at.
        source: the data. found: the pictures, and what each was made of.
        foreground, background: (M,) cosines of each with what it was made of.
        share: (M,) how much of the original is foreground: cells above half of its highest score.
        masks: (M, 2, h, w) float32, foreground of the original and of what was made of it, from 0 to 1.
        file: where the qualities were written.
    """

    encoder: str
    source: ArraySource
    found: Found
    foreground: np.ndarray
    background: np.ndarray
    share: np.ndarray
    masks: np.ndarray
    file: Path

    @property
    def quality(self) -> np.ndarray:
        """(M,) foreground less background: the same thing before something else is worth most."""
        return self.foreground - self.background

    def weights(self, scale: float = 1.0) -> np.ndarray:
        """(M,) e^(scale x quality), divided by the mean of all."""
        made = np.exp(scale * self.quality)
        return np.asarray(made / made.mean())

    def records(self) -> Iterator[dict[str, Any]]:
        """A plain record for each picture, as the file has them."""
        columns = self.foreground, self.background, self.quality, self.share
        for name, row, *values in zip(self.found.made.names, self.found.rows, *columns, strict=True):
            front, back, quality, share = (round(float(value), 6) for value in values)
            yield {
                "generated": name,
                "original": self.source.names[row],
                "foreground": front,
                "background": back,
                "quality": quality,
                "share": share,
                "level": noise_level(share),
                "by": self.encoder,
            }

    def __str__(self) -> str:
        m, items = len(self.quality), len(np.unique(self.found.rows))
        weights = self.weights()
        low, middle, high = np.quantile(self.quality, (0.05, 0.5, 0.95))
        lines = [
            ("Pictures", f"{m:,} of {items:,} items of {len(self.source):,}"),
            ("Left out", f"{len(self.found.orphans):,} that belong to no item" if self.found.orphans else ""),
            ("Quality", f"median {middle:.3f}, 5 % below {low:.3f}, 5 % above {high:.3f}"),
            ("Weights", f"{weights.min():.2f} to {weights.max():.2f}, worth {evenness(weights):.1%} of equal ones"),
            ("File", str(self.file)),
        ]
        return "\n".join(f"{name:<10}{text}" for name, text in lines if text)

    def page(self, path: str | Path, scale: float = 1.0) -> Path:
        """Write the page: the weights, the worst pairs and the best, each with its foreground."""
        from .report.generated import Pair, render
        from .report.page import put

        weights, order = self.weights(scale), np.argsort(self.quality, kind="stable")

        def pair(number: int) -> Pair:
            row = int(self.found.rows[number])
            pictures = [self.source.rows(np.array([row]))[0], self.found.made.rows(np.array([number]))[0]]
            return Pair(
                self.source.names[row],
                self.found.made.names[number],
                [picture.numpy() for picture in pictures],
                list(self.masks[number]),
                float(self.foreground[number]),
                float(self.background[number]),
                float(weights[number]),
            )

        some = min(SEEN, len(order) // 2 or 1)
        worst, best = ([pair(number) for number in numbers] for numbers in (order[:some], order[::-1][:some]))
        facts = {
            "Encoder": self.encoder,
            "Generated pictures": f"{len(order):,}",
            "Items with any": f"{len(np.unique(self.found.rows)):,} of {len(self.source):,}",
            "Pictures of no item": f"{len(self.found.orphans):,}",
            "Worth of the weights": f"{evenness(weights):.1%} of as many equal ones",
        }
        return put(Path(path), render(weights, scale, worst, best, facts))


def evenness(weights: np.ndarray) -> float:
    """From 1 / M, where one counts alone, to 1, where all count alike: (sum w)^2 / (M sum w^2).

    >>> evenness(np.array([1.0, 1.0, 0.0, 0.0]))
    0.5
    """
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))


def judge(
    run: str | Path | Run,
    data: str | Path | Source,
    pictures: str | Path,
    progress: bool | None = None,
    **options: Any,
) -> Judged:
    """Judge generated pictures of some data, and write what was found beside them, for `generated_weight`.

    Args:
        run: a run of images, or an encoder by name, which must make feature maps.
        data: the pictures that they were made of, as for `nearfar.fit`.
        pictures: the folder or archive of generated ones (see `nearfar.modalities.images.generated.find_generated`).
        options: settings of reading, such as `size`, for an encoder by name.

    Raises:
        DataError: nothing belongs to the data. ConfigError: the data are no pictures, or the encoder makes no maps.
    """
    data = bundled.located(data)
    opened = run if isinstance(run, Run) else open_run(run, data, **options)
    source, _ = opened.read(data, progress)
    if not isinstance(source, ArraySource) or source.kind != "images":
        raise ConfigError(f"generated pictures belong to pictures, and {data} are {source.kind}")
    found = find_generated(pictures, source, progress=shown(progress))
    encoder = opened.method.encoder
    views = opened.modality.views(opened.config["source"], 2, opened.options, encoder)
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))

    def maps(rows: Tensor) -> Tensor:
        return feature_map(encoder, views.plain(rows).to(device)).float().cpu()

    fitted = np.unique(np.linspace(0, len(source) - 1, min(len(source), FITTED)).astype(int))
    foreground = Foreground(torch.cat([maps(source.rows(some)) for some in _blocks(fitted)]))
    columns: list[list[Tensor]] = []
    m = len(found.rows)
    bar = tqdm(_blocks(np.arange(m)), unit_scale=BLOCK, desc="judging", disable=not shown(progress), leave=False)
    for some in bar:
        one, other = maps(source.rows(found.rows[some])), maps(found.made.rows(some))
        masks = torch.stack([foreground.mask(one), foreground.mask(other)], 1)
        share = (masks[:, 0] > 0.5).double().mean((1, 2))
        columns.append([*foreground.agreement(one, other), share, masks.float()])
    front, back, shares, both = (torch.cat(column).numpy() for column in zip(*columns, strict=True))
    file = quality_file(pictures)
    name = opened.config["encoder"] if not opened.trained else str(opened.path)
    judged = Judged(name, source, found, front, back, shares, both, file)
    save(file, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in judged.records()).encode())
    return judged


def _blocks(index: np.ndarray) -> list[np.ndarray]:
    return [index[start : start + BLOCK] for start in range(0, len(index), BLOCK)]
