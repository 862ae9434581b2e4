"""Cells of two crops, and triplets, by plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nearfar.errors import DataError
from nearfar.evaluation import cell_geometry, cells, margin_state


def test_cells_of_one_place_are_matched_and_all_cells_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 2, 3, generator=draw), torch.randn(2, 3, 2, 2, generator=draw)
    boxes = torch.tensor([[0.0, 0.0, 8.0, 12.0], [2.0, 1.0, 10.0, 9.0]])
    others = torch.tensor([[0.0, 8.0, 8.0, 0.0], [40.0, 40.0, 48.0, 48.0]])  # mirrored; far away
    seen = cell_geometry(first, second, boxes, others)
    near, every = [], []
    for picture in range(2):
        placed = []
        for maps, box in ((first, boxes), (second, others)):
            h, w = maps.shape[2:]
            top, left, bottom, right = box[picture].tolist()
            found = []
            for i in range(h):
                for j in range(w):
                    row = maps[picture, :, i, j].double()
                    place = top + (i + 0.5) / h * (bottom - top), left + (j + 0.5) / w * (right - left)
                    found.append((place, row / row.norm()))
            placed.append((found, math.hypot((bottom - top) / h, (right - left) / w)))
            every += [row for _, row in found]
        limit = 0.7 * max(placed[0][1], placed[1][1])
        near += [
            float((a - b).square().sum()) for p, a in placed[0][0] for q, b in placed[1][0] if math.dist(p, q) < limit
        ]
    pairs = [float(torch.exp(-2 * (a - b).square().sum())) for i, a in enumerate(every) for b in every[:i]]
    assert seen.matched == len(near) > 0 and seen.cells == len(every) == 20
    assert seen.alignment == pytest.approx(sum(near) / len(near))
    assert seen.uniformity == pytest.approx(math.log(sum(pairs) / len(pairs)))
    monkeypatch.setattr(cells, "BLOCK", 3)
    assert cell_geometry(first, second, boxes, others).uniformity == pytest.approx(seen.uniformity, rel=1e-12)
    apart = cell_geometry(first[1:], second[1:], boxes[1:], others[1:])
    assert apart.matched == 0 and math.isnan(apart.alignment)
    with pytest.raises(DataError, match="2 pictures have boxes of shapes"):
        cell_geometry(first, second, boxes[:1], others)


def test_triplets_that_violate_are_counted_and_collapse_is_seen() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1, 1])
    state = margin_state(x, y, margin=0.3)
    unit, known = x / np.linalg.norm(x, axis=1, keepdims=True), np.flatnonzero(y >= 0)
    distance = np.linalg.norm(unit[:, None] - unit[None, :], axis=2)
    triplets = [(a, p, n) for a in known for p in known for n in known if a != p and y[a] == y[p] and y[n] != y[a]]
    wrong = [distance[a, n] < distance[a, p] + 0.3 for a, p, n in triplets]
    assert state.violating == pytest.approx(np.mean(wrong))
    assert state.diameter == pytest.approx(distance[np.ix_(known, known)].max())
    assert state.near == pytest.approx(
        np.mean([distance[a, b] for a in known for b in known if a != b and y[a] == y[b]])
    )
    assert state.far == pytest.approx(np.mean([distance[a, b] for a in known for b in known if y[a] != y[b]]))
    assert not state.collapsed
    assert margin_state(np.ones((12, 4)) + 1e-3 * x, y, margin=0.3).collapsed
    with pytest.raises(DataError, match="two rows of one class and a row of another"):
        margin_state(x, np.zeros(12, dtype=int))
