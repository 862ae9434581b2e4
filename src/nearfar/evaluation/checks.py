"""What every function here asks of its vectors and labels; a bad row is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from nearfar.errors import DataError

Vectors: TypeAlias = "np.ndarray | torch.Tensor"
Labels: TypeAlias = "np.ndarray | torch.Tensor | Sequence[int]"


def as_vectors(vectors: Vectors, what: str = "vectors") -> np.ndarray:
    """(N, D) finite float32 or float64 array, at least one row and one column.

    Raises DataError: wrong shape, no rows, or a row with NaN or infinity (the first such row is named).
    """
    array = _numpy(vectors)
    if array.ndim != 2:
        raise DataError(f"{what} must have shape (N, D), got {array.shape}; flatten each item to one vector first")
    if 0 in array.shape:
        raise DataError(f"{what} are empty: shape {array.shape}; give at least one row and one column")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} must be numbers, got dtype {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        more = f" and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise DataError(f"{what}: row {bad[0]}{more} holds NaN or infinity; drop such rows or look at the encoder")
    return np.ascontiguousarray(array)


def as_labels(labels: Labels, n: int, what: str = "labels", unknown: bool = False) -> np.ndarray:
    """(n,) int64 labels; -1 means unknown and passes only with `unknown=True`.

    Raises DataError: wrong length, not integers, or a negative label (its row is named).
    """
    array = _numpy(labels)
    if array.shape != (n,):
        raise DataError(f"{what} must have shape ({n},), one for each vector, got {array.shape}")
    if array.dtype.kind not in "iub":
        whole = array.dtype.kind == "f" and bool(np.isfinite(array).all()) and bool((array == np.round(array)).all())
        if not whole:
            raise DataError(f"{what} must be integers, got dtype {array.dtype}; number the classes 0, 1, 2, ...")
    array = array.astype(np.int64)
    bad = np.flatnonzero(array < (-1 if unknown else 0))
    if len(bad):
        raise DataError(f"{what}: row {bad[0]} has label {array[bad[0]]}; labels start at 0, leave unknown rows out")
    return array


def same_width(a: np.ndarray, b: np.ndarray, what: str) -> None:
    """Raises DataError when the two sets of vectors differ in width."""
    if a.shape[1] != b.shape[1]:
        raise DataError(f"{what} differ in width: {a.shape[1]} and {b.shape[1]}; embed both with the same encoder")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their length, in float64; a row of zeros stays zero."""
    rows = vectors.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _numpy(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)
