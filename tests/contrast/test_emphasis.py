"""Emphasised means against a loop, in one block or two, from either side and from a list; and their slopes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.contrast import Emphasised, NegativeEuclidean, Scores, Strategy, Weights, same_key

VALUES = torch.tensor([[0.9, -0.3, 0.1, -1.9], [-0.5, -0.25, 0.2, 1.0], [-4.0, -3.0, -2.0, -5.0]], dtype=torch.float64)
SOFT = torch.tensor([[1.0, 0.5, 0.0, 2.0], [0.0, 1.0, 1.0, 0.25], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
FORMS = {
    "all": (Weights(), torch.ones_like(SOFT)),
    "soft": (Weights(SOFT), SOFT),
    "bool": (Weights(SOFT > 0), (SOFT > 0).double()),
    "dropped": (Weights(None, (SOFT == 0).nonzero(as_tuple=True)), (SOFT > 0).double()),
}
KINDS = {"plain": (0.53, 1.0, 0.0), "near": (-0.33, -1.0, 0.0), "far": (0.43, 1.0, 2.5), "falling": (0.17, -1.0, 1.5)}


def naive(row: list[float], weights: list[float], margin: float, sign: float, rate: float) -> float:
    above = [(max(margin + sign * v, 0.0), w) for v, w in zip(row, weights, strict=True)]
    total = sum(w * math.exp(rate * h) for h, w in above if h > 0)
    return sum(w * h * math.exp(rate * h) for h, w in above) / total if total else 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_means_are_those_of_a_loop(form: str, kind: str):
    weights, full = FORMS[form]
    margin, sign, rate = KINDS[kind]
    mean = Emphasised("any", margin=margin, sign=sign, rate=rate)
    want = torch.tensor(
        [naive(v, w, *KINDS[kind]) for v, w in zip(VALUES.tolist(), full.tolist(), strict=True)], dtype=torch.float64
    )
    torch.testing.assert_close(mean.value(mean.measure(VALUES, weights, 0)), want)
    halves = [mean.measure(VALUES[:, p], Weights(full[:, p]), p.start) for p in (slice(0, 3), slice(3, 4))]
    torch.testing.assert_close(mean.value(mean.merge(*halves)), want)
    rows, columns = (full > 0).nonzero(as_tuple=True)
    torch.testing.assert_close(mean.of_pairs(VALUES[rows, columns], full[rows, columns], rows, 3), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_slopes_are_those_of_finite_differences(form: str, kind: str):
    weights, full = FORMS[form]
    margin, sign, rate = KINDS[kind]
    mean = Emphasised("any", margin=margin, sign=sign, rate=rate)
    upstream = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    got = mean.grad(VALUES, weights, mean.measure(VALUES, weights, 0), upstream, 0)
    step = 1e-6

    def moved(i: int, j: int, by: float) -> float:
        row = VALUES[i].tolist()
        row[j] += by
        return naive(row, full[i].tolist(), margin, sign, rate)

    want = [[(moved(i, j, step) - moved(i, j, -step)) / (2 * step) for j in range(4)] for i in range(3)]
    torch.testing.assert_close(got, upstream[:, None] * torch.tensor(want, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_a_tile_serves_both_sides_and_not_a_number_stays_one():
    torch.manual_seed(0)
    z = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    keys = torch.arange(40) % 13
    found: list[tuple[Tensor, Tensor]] = []
    for tile in (7, 64):
        scores = Scores(NegativeEuclidean(), z, z, same_key(keys), strategy=Strategy("tiled", tile=tile))
        (value,) = scores.reduce(Emphasised("far", margin=1.2, rate=3.0))
        (slope,) = torch.autograd.grad((value * torch.arange(40)).sum(), z)
        found.append((value.detach(), slope))
    torch.testing.assert_close(found[0], found[1])
    broken = VALUES.clone()
    broken[1, 1] = torch.nan
    mean = Emphasised("any", margin=0.4, rate=2.0)
    assert mean.value(mean.measure(broken, Weights(), 0)).isnan().tolist() == [False, True, False]


def test_a_worse_pair_cannot_weigh_less():
    with pytest.raises(ValueError, match="not below 0"):
        Emphasised("far", rate=-1.0)
