"""Two models over the same rows: how much changes, and whether old vectors serve queries of the new model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .evaluation import Metric, bootstrap_mean, nearest
from .evaluation.drift import cka
from .run import save
from .store import Store

ENOUGH = 0.9  # recall from which old vectors may stay
_FEWEST = 20


@dataclass(frozen=True)
class Upgrade:
    """What `compare_stores` found.

    Attributes:
        old, new: what made the vectors of each.
        rows: how many ids both have.
        metrics: `neighbour_overlap`, `cka`, `profile`, and of queries of the new model among the vectors of the old
            one: `cross_recall` and `cross_self` (where the widths are equal), `mapped_recall`, `mapped_self` after a
            rotation that was fitted on the other half of the rows.
        moved: ids of the rows that moved most, with their `profile`.
    """

    old: str
    new: str
    rows: int
    metrics: dict[str, Metric]
    moved: list[tuple[str, float]]

    @property
    def verdict(self) -> str:
        """What follows for the old vectors."""
        crossed = self.metrics.get("cross_recall")
        if crossed is not None and crossed.value >= ENOUGH:
            return "Queries of the new model find in the old vectors what the old model's find: they may stay."
        if self.metrics["mapped_recall"].value >= ENOUGH:
            return "The old vectors serve the new model after a rotation of its queries, not as they are."
        return "The old vectors do not serve queries of the new model: embed all of the data again."

    def __str__(self) -> str:
        lines = [f"Old: {self.old}", f"New: {self.new}", f"{self.rows} rows of both", ""]
        lines += [str(metric) for metric in self.metrics.values()]
        lines += ["", "Moved most (agreement with itself about all others):"]
        return "\n".join([*lines, *(f"  {value:.3f}  {name}" for name, value in self.moved), "", self.verdict])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "old": self.old,
            "new": self.new,
            "rows": self.rows,
            "verdict": self.verdict,
            "metrics": {key: metric.to_json() for key, metric in self.metrics.items()},
            "moved": [{"id": name, "profile": value} for name, value in self.moved],
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def compare_stores(
    old: str | Path | Store,
    new: str | Path | Store,
    *,
    k: int = 10,
    rows: int = 4000,
    most: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Upgrade:
    """Compare the vectors of two stores row by row, by their ids; the widths may differ.

    - neighbour overlap: the share of a row's k nearest others that are the same in both.
    - CKA: see `nearfar.evaluation.drift.cka`.
    - profile: the correlation of a row's cosines with all others in one store and in the other; low where it moved.
    - cross recall: what share of a row's k nearest others by the old model its vector of the new model finds among the
      old vectors; self: whether it finds its own old vector first.
    - mapped: the same after the rotation of new vectors that brings them closest to the old ones (orthogonal
      Procrustes), fitted on one half of the rows and tried on the other.

    Args:
        rows: how many of the common rows are looked at, at random; all is among these alone.
        most: how many of the rows that moved most are named.

    Raises:
        DataError: fewer than 20 common ids, or k is not below a half of them.

    >>> print(compare_stores("old.store", "new.store").verdict)            # doctest: +SKIP
    """
    first, second = (one if isinstance(one, Store) else Store.open(one) for one in (old, new))
    ids = first.among(second.column("id").to_pylist())
    if len(ids) < _FEWEST:
        raise DataError(
            f"{first.path} and {second.path} have {len(ids)} ids in common; {_FEWEST} are needed to compare"
        )
    chosen = np.random.default_rng(seed).permutation(len(ids))[:rows]
    names = [ids[row] for row in chosen]
    a, b = (_units(store.vectors(names)) for store in (first, second))
    n, own = len(names), np.arange(len(names))
    if not 1 <= k < n // 2:
        raise DataError(f"k={k} neighbours asked of {n} common rows; choose k below half of them")
    near = [nearest(side, side, k, exclude=own).index for side in (a, b)]

    def mean(name: str, values: np.ndarray, **settings: Any) -> Metric:
        return bootstrap_mean(name, values, settings, resamples, seed)

    overlap = (near[0][:, :, None] == near[1][:, None, :]).any(axis=2).mean(axis=1)
    profiles = _profiles(a, b)
    metrics = {
        "neighbour_overlap": mean(f"overlap of {k} neighbours", overlap, k=k, chance=k / (n - 1)),
        "cka": Metric("linear CKA", cka(a, b), n, settings={"debiased": True}),
        "profile": mean("profile", profiles),
    }
    if a.shape[1] == b.shape[1]:
        recall, itself = _crossed(b, a, near[0], own)
        metrics["cross_recall"] = mean(f"recall@{k} of new queries in old vectors", recall, k=k)
        metrics["cross_self"] = mean("own old vector found first", itself)
    half = n // 2
    turned = b[half:] @ _rotation(b[:half], a[:half])
    recall, itself = _crossed(turned, a, near[0][half:], own[half:])
    metrics["mapped_recall"] = mean(f"recall@{k} after a rotation", recall, k=k, fitted=half)
    metrics["mapped_self"] = mean("own old vector found first after a rotation", itself, fitted=half)
    order = np.argsort(profiles, kind="stable")[:most]
    moved = [(names[row], float(profiles[row])) for row in order]
    return Upgrade(first.provenance.sentence(), second.provenance.sentence(), len(ids), metrics, moved)


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def _profiles(a: np.ndarray, b: np.ndarray, block: int = 512) -> np.ndarray:
    """(N,) correlations of each row's cosines with the other rows, in one set and in the other."""
    found = []
    for start in range(0, len(a), block):
        rows = np.arange(start, min(start + block, len(a)))
        others = np.ones((len(rows), len(a)), bool)
        others[np.arange(len(rows)), rows] = False
        one, other = ((side[rows] @ side.T)[others].reshape(len(rows), -1) for side in (a, b))
        one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
        lengths = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
        found.append((one * other).sum(axis=1) / np.maximum(lengths, 1e-12))
    return np.concatenate(found)


def _rotation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The map with orthonormal rows or columns that brings x closest to y (Schönemann 1966)."""
    left, _, right = np.linalg.svd(x.T @ y, full_matrices=False)
    return np.asarray(left @ right)


def _crossed(queries: np.ndarray, gallery: np.ndarray, truth: np.ndarray, own: np.ndarray) -> tuple[Any, Any]:
    """Which share of the true neighbours each query finds, and whether it finds itself first."""
    k = truth.shape[1]
    found = nearest(queries, gallery, k, exclude=(own, np.arange(len(gallery)))).index
    recall = (truth[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)
    first = nearest(queries, gallery, 1).index[:, 0] == own
    return recall, first.astype(float)
