"""Near duplicates: rows whose vectors are nearly the same, in groups of which one row is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.store import Store
from nearfar.store.lance import as_matrix

from .rows import require, units

MOST_PAIRS = 20_000_000  # that are held: 24 bytes each
_OUTER, _INNER, _TILE = 32768, 8192, 2048
_PIECE = 4096  # pairs that are scored in float64 at a time
_GRID = 2.0**40
_SAMPLE = 1000
_CUT = 3.5  # robust deviations below the middle, from which a neighbour is unusually near
_NEAREST = 1e-7  # of 1 - cosine, below which float32 tells nothing apart
Grouping = Literal["star", "chain"]


@dataclass(frozen=True)
class Group:
    """A row that is kept, the rows that may go, in order, and how alike each of them is to it.

    With grouping "chain" scores are the highest cosine to any row of the group.
    """

    keep: str
    drop: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Duplicates:
    """What was found among `rows` rows: groups, largest first; the threshold, and whether it was suggested."""

    groups: list[Group]
    threshold: float
    suggested: bool
    rows: int

    @property
    def drop(self) -> list[str]:
        """Ids of all rows that may go."""
        return [one for group in self.groups for one in group.drop]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "threshold": self.threshold,
            "suggested": self.suggested,
            "rows": self.rows,
            "groups": [{"keep": one.keep, "drop": one.drop, "scores": one.scores} for one in self.groups],
        }


def duplicates(
    store: Store, threshold: float | None = None, grouping: Grouping = "star", where: str | None = None
) -> Duplicates:
    """Groups of rows whose cosine is at least `threshold`, found by comparing every row with every other.

    - "star": of the rows without a group the one with most near rows is kept (of equals the earlier one), and these
      join it. Every row that goes is as near to the kept one as the threshold says; chains of small steps stay apart.
    - "chain": rows that a chain of near pairs connects are one group.

    Rows are read block by block: memory is some blocks and the pairs that were found. Cosines are float32, and
    float64 where they decide.

    Args:
        threshold: cosine from which two rows are duplicates, above 0 and at most 1; `suggest` chooses when None.
        where: only rows that pass a filter as in SQL.

    Raises:
        ConfigError: a threshold out of range, or a filter that cannot be used. DataError: fewer than two rows, or too
        many pairs.
    """
    if grouping not in ("star", "chain"):
        raise ConfigError(f"duplicates are grouped by star or chain, not {grouping!r}")
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(f"the threshold is a cosine above 0 and at most 1, not {threshold:g}; 0.95 is usual")
    ids = [one for batch in store.blocks(where, ["id"]) for one in batch["id"].to_pylist()]
    require(store, len(ids), 2, where)
    limit = suggest(store, where) if threshold is None else threshold
    pairs, scores = near_pairs(store, limit, where)
    made = stars(len(ids), pairs, scores) if grouping == "star" else chains(len(ids), pairs, scores)
    groups = [Group(ids[keep], [ids[row] for row in rows], near) for keep, rows, near in made]
    groups.sort(key=lambda group: -len(group.drop))
    return Duplicates(groups, float(limit), threshold is None, len(ids))


def near_pairs(
    store: Store, threshold: float, where: str | None = None, most: int = MOST_PAIRS
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 2) pairs of places of rows, the earlier first, whose cosine is at least `threshold`, and (P,) cosines.

    Raises:
        DataError: there are more than `most`.
    """
    pairs, scores, count = [np.empty((0, 2), np.int64)], [np.empty(0)], 0
    gap = (store.width + 16) * 2.0**-23  # twice what a product of rows of length 1 can be off in float32
    for start, outer in _blocks(store, where, _OUTER):
        for at, inner in _blocks(store, where, _INNER):
            if at + len(inner) <= start:
                continue
            for first in range(0, len(outer), _TILE):
                tile = outer[first : first + _TILE]
                if at + len(inner) <= start + first:
                    break
                rough = tile @ inner.T
                i, j = np.nonzero(rough >= threshold - gap)
                later = at + j > start + first + i
                i, j = i[later], j[later]
                near = rough[i, j].astype(np.float64)
                doubt = np.flatnonzero(near < threshold + gap)
                near[doubt] = np.concatenate([np.empty(0), *_exact(tile, inner, i[doubt], j[doubt])])
                near = np.minimum(near, 1.0)
                good = near >= threshold
                count += int(good.sum())
                if count > most:
                    raise DataError(
                        f"more than {most:,} pairs of rows of {store.path} are at least {threshold:g} alike; "
                        "choose a higher threshold"
                    )
                pairs.append(np.stack([start + first + i[good], at + j[good]], axis=1))
                scores.append(near[good])
    found, cosines = np.concatenate(pairs), np.concatenate(scores)
    order = np.lexsort((found[:, 1], found[:, 0]))
    return found[order], cosines[order]


def _exact(left: np.ndarray, right: np.ndarray, i: np.ndarray, j: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(i), _PIECE):
        a, b = (side[rows[start : start + _PIECE]].astype(np.float64) for side, rows in ((left, i), (right, j)))
        lengths = np.sqrt(np.einsum("nd,nd->n", a, a) * np.einsum("nd,nd->n", b, b))
        # On a grid, so that rounding does not part a row from its copy.
        yield np.round(np.einsum("nd,nd->n", a, b) / np.where(lengths > 0, lengths, 1.0) * _GRID) / _GRID


def _blocks(store: Store, where: str | None, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Place of the first row and unit vectors of `size` rows at a time."""
    place, held = 0, 0
    parts: list[np.ndarray] = []
    for batch in store.blocks(where, ["vector"], min(size, _INNER)):
        parts.append(units(as_matrix(batch["vector"], store.width)))
        held += len(batch)
        if held >= size:
            yield place, np.concatenate(parts)
            place, held, parts = place + held, 0, []
    if parts:
        yield place, np.concatenate(parts)


def stars(count: int, pairs: np.ndarray, scores: np.ndarray) -> list[tuple[int, list[int], list[float]]]:
    """Kept row, rows that go and their cosines to it, for each group; see `duplicates`.

    >>> chain = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    >>> stars(5, chain, np.array([0.97, 0.96, 0.98, 0.99]))
    [(1, [0, 2], [0.97, 0.96]), (3, [4], [0.99])]
    """
    graph = _graph(count, pairs, scores)
    degree = np.diff(graph.indptr)
    free = np.ones(count, bool)
    groups = []
    for row in np.lexsort((np.arange(count), -degree))[: int((degree > 0).sum())].tolist():
        if not free[row]:
            continue
        part = slice(graph.indptr[row], graph.indptr[row + 1])
        mine = free[graph.indices[part]]
        members = graph.indices[part][mine]
        if len(members):
            free[row], free[members] = False, False
            groups.append((row, members.tolist(), graph.data[part][mine].tolist()))
    return groups


def chains(count: int, pairs: np.ndarray, scores: np.ndarray) -> list[tuple[int, list[int], list[float]]]:
    """The same for rows that chains of pairs connect.

    >>> chains(3, np.array([[0, 1], [1, 2]]), np.array([0.97, 0.96]))
    [(1, [0, 2], [0.97, 0.96])]
    """
    from scipy.sparse.csgraph import connected_components

    graph = _graph(count, pairs, scores)
    degree = np.diff(graph.indptr)
    groups: dict[int, list[int]] = {}
    number = connected_components(graph, directed=False)[1]
    for row in np.flatnonzero(degree).tolist():
        groups.setdefault(number[row], []).append(row)
    found = []
    for rows in groups.values():
        keep = max(rows, key=lambda row: (degree[row], -row))
        others = [row for row in rows if row != keep]
        best = [float(graph.data[graph.indptr[row] : graph.indptr[row + 1]].max()) for row in others]
        found.append((keep, others, best))
    return found


def _graph(count: int, pairs: np.ndarray, scores: np.ndarray) -> Any:
    """The pairs in both directions, as a sparse matrix with sorted columns."""
    from scipy.sparse import csr_matrix

    both, values = np.concatenate([pairs, pairs[:, ::-1]]), np.concatenate([scores, scores])
    graph = csr_matrix((values, (both[:, 0], both[:, 1])), shape=(count, count))
    graph.sort_indices()
    return graph


def suggest(store: Store, where: str | None = None, sample: int = _SAMPLE, seed: int = 0) -> float:
    """A threshold from how near the nearest other row is, of 1,000 rows.

    Of d = log(1 - cosine to the nearest row), it takes median - 3.5 x 1.4826 x median absolute deviation: neighbours
    nearer than that are out of line with those of most rows. It fails where most rows have duplicates, and where rows
    are as near to each other by nature as duplicates are: look at the groups.
    """
    count = sum(len(batch) for batch in store.blocks(where, []))
    require(store, count, 2, where)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:sample])
    parts = [block[rows[(rows >= at) & (rows < at + len(block))] - at] for at, block in _blocks(store, where, _INNER)]
    asked, best = np.concatenate(parts), np.full(len(rows), -1.0, np.float32)
    for at, block in _blocks(store, where, _INNER):
        cosines = asked @ block.T
        own = (rows >= at) & (rows < at + len(block))
        cosines[np.flatnonzero(own), rows[own] - at] = -1
        best = np.maximum(best, cosines.max(1))
    distance = np.log(np.maximum(1 - best.astype(np.float64), _NEAREST))
    middle = float(np.median(distance))
    spread = float(np.median(np.abs(distance - middle))) * 1.4826
    return float(np.clip(1 - np.exp(middle - _CUT * spread), 0.5, 1 - 10 * _NEAREST))
