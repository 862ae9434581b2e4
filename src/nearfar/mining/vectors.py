"""Vectors as mining sees them: arrays or .npy files that stay on disk, read block by block, checked and named once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import ConfigError, DataError

Similarity = Literal["cosine", "dot"]
SIMILARITIES = ("cosine", "dot")
_BLOCK = 512  # fits into a cache
_LARGEST = 1e15  # so that no product leaves the range of float32
SHORTEST = 1e-12  # rows are divided by this much at least


def open_vectors(path: str | Path, what: str = "vectors") -> np.ndarray:
    """(N, D) vectors of a .npy file, which stay on disk until they are used, or of the `vectors` of an .npz file.

    Raises:
        DataError: there is no such file, it is of another kind or damaged, or it holds no table of numbers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{what}: there is no file {path}")
    try:
        found: Any = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        array = found if isinstance(found, np.ndarray) else found["vectors"]
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise DataError(
            f"{what}: {path} cannot be read as vectors ({error}); give .npy, or .npz of nearfar embed"
        ) from None
    return as_table(array, f"{what} of {path}")


def as_table(vectors: Any, what: str = "vectors") -> np.ndarray:
    """Vectors as an array of two dimensions, not copied where they are one; values are looked at by `look`.

    Raises:
        DataError: other dimensions, no rows, or no numbers.
    """
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().cpu()
        vectors = (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).numpy()
    array = np.asanyarray(vectors)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{what} must have shape (N, D) with N and D above 0, got {array.shape}")
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what} must be numbers, got dtype {array.dtype}")
    return array


def same_width(queries: np.ndarray, corpus: np.ndarray) -> None:
    """Raises DataError when queries and corpus differ in width."""
    if queries.shape[1] != corpus.shape[1]:
        raise DataError(
            f"queries have width {queries.shape[1]}, the corpus {corpus.shape[1]}; embed both with the same encoder"
        )


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def lengths(block: np.ndarray) -> np.ndarray:
    """(B,) lengths of rows (B, D), in float64.

    >>> lengths(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [5.0, 0.0]
    """
    rows = block.astype(np.float64, copy=False)
    return np.sqrt(np.einsum("nd,nd->n", rows, rows))


def fast_rows(vectors: np.ndarray, rows: Any, similarity: Similarity, dtype: torch.dtype) -> Tensor:
    """(B, D) rows in some type whose products are the scores; for cosine of length 1 (a row of zeros stays zero)."""
    block = np.array(vectors[rows], dtype=np.float64 if dtype == torch.float64 else np.float32)
    if similarity == "cosine":
        block = block / np.maximum(lengths(block), SHORTEST)[:, None].astype(block.dtype)
    return torch.from_numpy(block).to(dtype)


@dataclass(frozen=True)
class Look:
    """What one pass over vectors found.

    Attributes:
        lengths: (N,) of the rows as given.
        longest: of the rows as they are multiplied: 1 for cosine.
        error: how far a row of the smaller type is from the exact one at most, as a length.
        sha256: of the values.
    """

    lengths: np.ndarray
    longest: float
    error: float
    sha256: str


def look(vectors: np.ndarray, similarity: Similarity, dtype: torch.dtype, what: str = "vectors") -> Look:
    """Read all rows once, in blocks.

    Raises:
        DataError: a row holds NaN or infinity (the first such row is named). ConfigError: unknown similarity.

    >>> look(np.eye(2), "cosine", torch.float32).error
    0.0
    """
    if similarity not in SIMILARITIES:
        raise ConfigError(f"unknown similarity {similarity!r}; choose cosine or dot")
    digest = hashlib.sha256(f"{vectors.shape} {vectors.dtype}".encode())
    all_lengths, longest, error = np.empty(len(vectors)), 0.0, 0.0
    for rows in blocks(len(vectors), _BLOCK):
        raw = np.ascontiguousarray(vectors[rows])
        digest.update(raw.data)
        usable = np.isfinite(raw).all(axis=1) & (np.abs(raw).max(axis=1).astype(np.float64) <= _LARGEST)
        if not usable.all():
            first = rows.start + int(np.flatnonzero(~usable)[0])
            raise DataError(
                f"{what}: row {first} holds NaN, infinity or a number above {_LARGEST:g}; drop such rows "
                "or look at the encoder"
            )
        exact = fast_rows(raw, slice(None), similarity, torch.float64).numpy()
        all_lengths[rows] = lengths(raw)
        longest = max(longest, float(lengths(exact).max()))
        error = max(
            error, float(lengths(exact - fast_rows(raw, slice(None), similarity, dtype).double().numpy()).max())
        )
    return Look(all_lengths, longest, error, digest.hexdigest())
