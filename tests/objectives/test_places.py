"""Which cells of two crops are near, and what dense objectives make of it."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor

from nearfar.contrast import NegativeEuclidean, Relation
from nearfar.objectives import InfoNCE, PixContrast, PixPro, best_matches, cell_centres, to_places

F64 = torch.float64


def boxes(seed: int, n: int) -> Tensor:
    """Crops of pictures of 40 pixels, some mirrored."""
    draw = torch.Generator().manual_seed(seed)
    made = torch.zeros(n, 4, dtype=F64)
    for axis in (0, 1):
        side = 16 + 20 * torch.rand(n, dtype=F64, generator=draw)
        made[:, axis] = (40 - side) * torch.rand(n, dtype=F64, generator=draw)
        made[:, axis + 2] = made[:, axis] + side
    mirrored = torch.arange(n) % 2 == 1
    made[mirrored] = made[mirrored][:, [0, 3, 2, 1]]
    return made


def weights(relation: Relation, over: str) -> Tensor:
    r, c = relation.shape
    return relation.weights(over, slice(0, r), slice(0, c)).full(torch.empty(r, c, dtype=F64))


def by_hand(one: Tensor, other: Tensor, grid: tuple[int, int], other_grid: tuple[int, int], reach: float) -> Tensor:
    """The near pairs, cell by cell."""
    n, p, q = len(one), math.prod(grid), math.prod(other_grid)
    near = torch.zeros(n * p, n * q, dtype=F64)
    for item in range(n):
        sides, middles = [], []
        for box, (h, w) in ((one[item].tolist(), grid), (other[item].tolist(), other_grid)):
            high, wide = (box[2] - box[0]) / h, (box[3] - box[1]) / w
            sides.append(math.hypot(high, wide))
            middles.append([(box[0] + (r + 0.5) * high, box[1] + (c + 0.5) * wide) for r in range(h) for c in range(w)])
        for i, (y, x) in enumerate(middles[0]):
            for j, (v, u) in enumerate(middles[1]):
                near[item * p + i, item * q + j] = math.hypot(y - v, x - u) / max(sides) < reach
    return near


@pytest.mark.parametrize("grids", [((3, 3), (3, 3)), ((3, 2), (2, 4))], ids=str)
def test_near_cells_show_nearly_the_same_place(grids: tuple[tuple[int, int], tuple[int, int]]):
    one, other = boxes(0, 5), boxes(1, 5)
    relation = to_places(one, other, *grids)
    want = by_hand(one, other, *grids, 0.7)
    assert torch.equal(weights(relation, "near"), want)
    assert 5 < want.sum() < 0.8 * 5 * math.prod(grids[0] + grids[1])
    p, q = (math.prod(grid) for grid in grids)
    same = torch.block_diag(*[torch.ones(p, q, dtype=F64)] * 5)
    assert torch.equal(weights(relation, "far"), same - want)


def test_a_picture_has_the_weight_of_one_when_asked_for():
    one, other = boxes(0, 5), boxes(1, 5)
    plain, even = (weights(to_places(one, other, (3, 3), even=e), "near") for e in (False, True))
    sums = even.view(5, 9, 5, 9).sum((1, 3))
    torch.testing.assert_close(sums, torch.eye(5, dtype=F64))
    assert torch.equal(even > 0, plain > 0)


def test_identical_crops_match_cell_by_cell_and_a_mirrored_one_from_the_other_side():
    box = torch.tensor([[3.0, 5.0, 23.0, 25.0]], dtype=F64)
    assert torch.equal(weights(to_places(box, box, (4, 4), reach=0.5), "near"), torch.eye(16, dtype=F64))
    mirrored = weights(to_places(box, box[:, [0, 3, 2, 1]], (4, 4), reach=0.5), "near")
    want = torch.eye(16, dtype=F64).view(16, 4, 4).flip(2).view(16, 16)
    assert torch.equal(mirrored, want)
    first = cell_centres(box, (4, 4))
    torch.testing.assert_close(cell_centres(box[:, [0, 3, 2, 1]], (4, 4)).view(4, 4, 2).flip(1).flatten(0, 1), first[0])


@pytest.mark.parametrize("objective", [PixContrast(), PixPro()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_crops_that_share_nothing_say_nothing(objective: torch.nn.Module, strategy: str):
    one = torch.tensor([[0.0, 0, 8, 8]] * 2)
    cells = [rows(k, 8).requires_grad_() for k in (0, 1)]
    for even in (False, True):
        value = objective(*cells, relation=to_places(one, one + 20, (2, 2), even=even), strategy=strategy)
        value.backward()
        assert value.item() == 0 and all(not c.grad.any() for c in cells)


def test_pixel_to_propagation_is_a_mean_per_picture():
    """The loops of the official code, but for pictures without a shared place."""
    one, other = boxes(2, 4), boxes(3, 4)
    other[3] += 500
    y, x = rows(4, 4 * 9, 5).view(4, 9, 5), rows(5, 4 * 9, 5).view(4, 9, 5)
    near = by_hand(one, other, (3, 3), (3, 3), 0.7)
    values = []
    for item in range(3):
        total = count = 0.0
        for i in range(9):
            for j in range(9):
                if near[item * 9 + i, item * 9 + j]:
                    total += float(torch.cosine_similarity(y[item, i], x[item, j], dim=0))
                    count += 1
        values.append(-2 * total / count)
    relation = to_places(one, other, (3, 3), even=True)
    for strategy in ("dense", "tiled", "auto"):
        got = PixPro()(y.flatten(0, 1), x.flatten(0, 1), relation=relation, strategy=strategy)
        assert float(got) == pytest.approx(sum(values) / 3, abs=1e-12)


def test_pixel_contrast_compares_cells_of_one_picture_only():
    one, other = boxes(2, 4), boxes(3, 4)
    other[3] += 15
    a, b = rows(6, 4 * 9, 5), rows(7, 4 * 9, 5)
    near = by_hand(one, other, (3, 3), (3, 3), 0.7)
    values = []
    for i in range(36):
        block = range(i // 9 * 9, i // 9 * 9 + 9)
        scores = {j: math.exp(float(torch.cosine_similarity(a[i], b[j], dim=0)) / 0.3) for j in block}
        pull = sum(scores[j] for j in block if near[i, j])
        if pull:
            values.append(-math.log(pull / sum(scores.values())))
    relation = to_places(one, other, (3, 3))
    assert 0 < len(values) < 36
    for strategy in ("dense", "tiled"):
        got = PixContrast()(a, b, relation=relation, strategy=strategy)
        assert float(got) == pytest.approx(sum(values) / len(values), abs=1e-12)
    # Other objectives take the same relation.
    assert float(InfoNCE(similarity=NegativeEuclidean(), temperature=1.0)(a, b, relation=relation)) > 0


def test_matches_follow_the_cells_when_they_are_shuffled():
    cells, others = rows(8, 3 * 6, 4).view(3, 6, 4), rows(9, 3 * 5, 4).view(3, 5, 4)
    found = best_matches(cells, others)
    for n in range(3):
        for i in range(6):
            cosines = [float(torch.cosine_similarity(cells[n, i], others[n, j], dim=0)) for j in range(5)]
            assert int(found[n, i]) == max(range(5), key=cosines.__getitem__)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(order[best_matches(cells, others[:, order])], found)


def test_crops_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="the same pictures, got 2 and 3 crops"):
        to_places(boxes(0, 2), boxes(1, 3), (2, 2))
