"""Concentration of augmented pictures: how near the samples of a class come to each other under a recipe of views.

The augmentation distance of two samples is the smallest distance between any of their augmented versions,

    d_A(x, y) = min_(a, b) |a(x) - b(y)|        over `versions` random versions of each, and the untouched ones

here of pixels, in units of the mean distance of two untouched pictures. sigma(delta) is the share of a class within
delta of its core, the sample that has most others so near; delta(sigma) is its inverse, averaged over classes. (The
paper asks for a part of the class whose diameter is delta, which is the search for a clique.) An encoder trained with a
recipe has an alignment, mean |f(a(x)) - f(b(x))|^2, a largest cosine of two class centres, and errors of a linear probe
and of the nearest class centre.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..data import bundled
from ..data.source import Source
from ..data.split import stratified_split
from ..errors import ConfigError, DataError
from ..evaluation import Metric, alignment, enrol, linear_probe
from ..modalities import find
from ..modalities.images.recipes import ViewRecipe
from ..modalities.images.views import ImageViews
from ..models.heads import projector
from ..objectives import NTXent
from ..report.findings import Picture, curve, dot
from .finding import Cell, Diagnosis, DiagnosisOptions, Measured, Say, opening, over_seeds, rank_correlations

_NONE = ViewRecipe("nothing", crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0)
_CROP = ViewRecipe("crop from 0.3", crop_scale=(0.3, 1.0), flip=0.0)
RECIPES: tuple[ViewRecipe, ...] = (
    _NONE,
    replace(_NONE, name="flip", flip=0.5),
    replace(_CROP, name="crop from 0.7", crop_scale=(0.7, 1.0)),
    _CROP,
    replace(_CROP, name="crop and flip", flip=0.5),
    replace(_CROP, name="crop, flip, light", flip=0.5, jitter=(0.4, 0.4, 0.4, 0.1)),
    replace(_CROP, name="crop from 0.05, flip, light", crop_scale=(0.05, 1.0), flip=0.5, jitter=(0.8, 0.8, 0.8, 0.2)),
)


class ConcentrationOptions(DiagnosisOptions):
    """Settings of `concentration`."""

    data: str = Field("bundled:fashion", description="labelled pictures, as for fit")
    encoder: str = Field("small", description="encoder by name, trained from scratch with every recipe")
    rows: int = Field(1000, ge=20, description="pictures to learn from")
    held: int = Field(1000, ge=20, description="pictures that the probes are scored on")
    per_class: int = Field(40, ge=4, description="pictures of each class that augmentation distances are between")
    versions: int = Field(12, ge=1, description="augmented versions of each of them")
    sigma: float = Field(0.9, gt=0, le=1, description="share of a class of which delta is told")
    steps: int = Field(150, ge=1, description="updates by Adam for every recipe")
    batch: int = Field(64, ge=2, description="pictures of a batch")
    lr: float = Field(0.002, gt=0, description="learning rate")
    temperature: float = Field(0.2, gt=0, description="of NT-Xent")


def augmentation_distances(versions: np.ndarray) -> np.ndarray:
    """(N, N) smallest distance between any version of one sample and any of another, of versions (N, V, D).

    >>> augmentation_distances(np.array([[[0.0], [1.0]], [[5.0], [3.0]]])).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    n, count, _ = versions.shape
    flat = torch.from_numpy(versions.reshape(n * count, -1))
    found = np.zeros((n, n))
    for i in range(n):
        far = torch.cdist(flat[i * count : (i + 1) * count], flat)
        found[i] = far.amin(0).view(n, count).amin(1).numpy()
        found[i, i] = 0.0  # which rounding can hide
    return found


def delta_of(distances: np.ndarray, sigma: float) -> float:
    """The smallest delta for which some sample has a share sigma of all samples within delta, itself among them.

    distances: (N, N) of one class.

    >>> delta_of(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 8.0], [9.0, 8.0, 0.0]]), 2 / 3)
    1.0
    """
    needed = int(np.ceil(sigma * len(distances) - 1e-9))
    return float(np.sort(distances, axis=1)[:, max(needed, 1) - 1].min())


def share_within(distances: np.ndarray, delta: float) -> float:
    """sigma(delta): the largest share of the samples that are within delta of one of them.

    >>> share_within(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.5)
    0.5
    """
    return float((distances <= delta).mean(1).max())


def largest_cosine(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The largest cosine of the mean unit vectors of two classes: 1 where two classes share a centre.

    >>> largest_cosine(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
    0.0
    """
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    means = np.stack([units[labels == c].mean(0) for c in np.unique(labels)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return float((means @ means.T - 2 * np.eye(len(means))).max())


class _Pictures:
    """Rows of labelled pictures to learn from and to score on, drawn by class from a seed."""

    def __init__(self, options: ConcentrationOptions, seed: int) -> None:
        images = find("images")
        path = Path(bundled.located(options.data))
        train, held = images.read_pair(path, images.Options(), None, None, False)
        if train.labels is None or len(np.unique(train.labels[train.labels >= 0])) < 2:
            raise DataError(f"{options.data} has no labels of two or more classes; name a label column or make folders")
        if held is None:
            kept, out = stratified_split(train.labels, 0.5, seed, train.classes)
            self.train, self.train_labels = _drawn(train, kept, options.rows, seed)
            self.held, self.held_labels = _drawn(train, out, options.held, seed)
        else:
            self.train, self.train_labels = _drawn(train, np.arange(len(train)), options.rows, seed)
            self.held, self.held_labels = _drawn(held, np.arange(len(held)), options.held, seed)

    def views(self, recipe: ViewRecipe, count: int) -> ImageViews:
        return ImageViews(self.train.shape[-1], self.train.shape[1], count, recipe)

    def of_class(self, label: int, most: int) -> Tensor:
        return self.train[np.flatnonzero(self.train_labels == label)[:most]]


def _drawn(source: Source, among: np.ndarray, most: int, seed: int) -> tuple[Tensor, np.ndarray]:
    assert source.labels is not None
    among = among[source.labels[among] >= 0]
    chosen = np.sort(np.random.default_rng(seed).permutation(among)[:most])
    return source.rows(chosen), source.labels[chosen]


def _distances(data: _Pictures, recipe: ViewRecipe, options: ConcentrationOptions, seed: int) -> list[np.ndarray]:
    """Augmentation distances within each class, in units of the mean distance of two untouched pictures."""
    generator = torch.Generator().manual_seed(seed)
    views = data.views(recipe, 2)
    plain = views.plain(data.train[:500]).flatten(1)
    unit = float(torch.pdist(plain).mean())
    found = []
    for label in np.unique(data.train_labels):
        rows = data.of_class(int(label), options.per_class)
        if len(rows) < 2:
            raise ConfigError(f"class {label} has {len(rows)} pictures among {options.rows}; set more rows")
        made = [views.plain(rows), *(views(rows, generator)[0] for _ in range(options.versions))]
        found.append(augmentation_distances(torch.stack(made, 1).flatten(2).numpy()) / unit)
    return found


def _trained(data: _Pictures, recipe: ViewRecipe, options: ConcentrationOptions, seed: int) -> torch.nn.Module:
    """An encoder that learned with the recipe."""
    facts = {"shape": [data.train.shape[1], data.train.shape[-1]]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, encoder = find("images").encoder(options.encoder, facts, find("images").Options())
        head = projector(int(encoder.width), 128, 64)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    views, loss = data.views(recipe, 2), NTXent(temperature=options.temperature)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], options.lr)
    for _ in range(options.steps):
        rows = data.train[torch.randperm(len(data.train), generator=generator)[: options.batch]]
        one, two = views(rows, generator)
        optimiser.zero_grad()
        loss(*head(encoder(torch.cat([one, two]))).chunk(2)).backward()
        optimiser.step()
    return encoder.eval()


@torch.inference_mode()
def _vectors(encoder: torch.nn.Module, rows: Tensor) -> np.ndarray:
    return torch.cat([encoder(part) for part in rows.split(256)]).numpy()


def one_recipe(data: _Pictures, recipe: ViewRecipe, options: ConcentrationOptions, seed: int) -> dict[str, float]:
    """What a recipe does to the pictures, and what an encoder makes of it."""
    distances = _distances(data, recipe, options, seed)
    encoder, views = _trained(data, recipe, options, seed), data.views(recipe, 2)
    one, two = (_vectors(encoder, part) for part in views(data.held, torch.Generator().manual_seed(seed + 1)))
    train, held = (_vectors(encoder, views.plain(part)) for part in (data.train, data.held))
    probe = linear_probe(train, data.train_labels, held, data.held_labels, strength=0.1, resamples=1)
    centre = enrol(train, data.train_labels).predict(held)
    return {
        "delta": float(np.mean([delta_of(part, options.sigma) for part in distances])),
        "alignment": float(alignment(one, two).mean()),
        "largest cosine of centres": largest_cosine(held, data.held_labels),
        "probe error": 1 - probe.report.metrics["accuracy"].value,
        "error of the nearest centre": float((centre != data.held_labels).mean()),
        **{f"sigma {at:.2f}": float(np.mean([share_within(part, at) for part in distances])) for at in _GRID},
    }


_GRID = tuple(np.linspace(0, 1, 26).tolist())
_TOLD = ("delta", "alignment", "largest cosine of centres", "probe error", "error of the nearest centre")


def measure(options: ConcentrationOptions, say: Say) -> Measured:
    """See `DIAGNOSIS`."""
    found: list[list[dict[str, float]]] = []
    for seed in options.every_seed:
        data, row = _Pictures(options, seed), []
        for recipe in RECIPES:
            say(f"seed {seed}, {recipe.name}")
            row.append(one_recipe(data, recipe, options, seed))
        found.append(row)
    seen = {key: np.array([[cell[key] for cell in row] for row in found]) for key in found[0][0]}
    error = seen["probe error"]
    figures: dict[str, Metric] = {
        key: rank_correlations(f"rank correlation of {key} and probe error, over recipes", seen[key], error)
        for key in ("delta", "alignment", "largest cosine of centres")
    }
    table: list[dict[str, Cell]] = [
        {"recipe": recipe.name, **{key: over_seeds(key, seen[key][:, at]) for key in _TOLD}}
        for at, recipe in enumerate(RECIPES)
    ]
    delta = figures["delta"]
    holds = True if delta.low > 0 else False if delta.high < 0 else None
    others = ", ".join(f"{key} {figures[key].short()}" for key in ("alignment", "largest cosine of centres"))
    verdict = (
        f"{opening(holds)}: over {len(RECIPES)} recipes the rank "
        f"correlation of delta({options.sigma:g}) with the probe error is {delta.short()}. Of what the bound adds "
        f"alone, each by itself: {others}."
    )
    curves = [
        curve(recipe.name, at, _GRID, np.stack([seen[f"sigma {x:.2f}"][:, at] for x in _GRID], 1))
        for at, recipe in enumerate(RECIPES)
    ]
    across = seen["delta"].mean(0)
    dots = [dot(r.name, at, across[at], error[:, at], r.name) for at, r in enumerate(RECIPES)]
    pictures = [
        Picture("sigma(delta): share of a class within delta of its core", "delta, in distances of pictures", curves),
        Picture("Probe error of recipes, with the range over seeds", f"delta({options.sigma:g})", dots=dots),
    ]
    return verdict, holds, figures, table, pictures


DIAGNOSIS = Diagnosis(
    "concentration",
    "Recipes of views that bring the samples of a class nearer to each other (a smaller delta at the same sigma) give "
    "vectors with a smaller probe error.",
    "Huang et al. 2021, Towards the Generalization of Contrastive Self-Supervised Learning (reconstructed)",
    ConcentrationOptions,
    measure,
)
