"""Maps of scores: their values and derivatives, against mathematics in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nearfar.contrast import Below, Excess, Hinge, Map, Max, Scores, Sigmoid, Softplus, Sum, same_key
from nearfar.contrast.maps import softplus
from nearfar.contrast.relation import matching
from nearfar.contrast.similarity import Cosine

MAPS = {
    "softplus": (Softplus(), lambda x, b: math.log1p(math.exp(x + b))),
    "falling softplus": (Softplus(-1.0), lambda x, b: math.log1p(math.exp(-x - b))),
    "hinge": (Hinge(0.5), lambda x, b: max(0.5 + x, 0)),
    "falling hinge": (Hinge(0.5, -1.0), lambda x, b: max(0.5 - x, 0)),
    "sigmoid": (Sigmoid(), lambda x, b: 1 / (1 + math.exp(b - x))),
    "square": (Hinge(0.5, -1.0, squared=True), lambda x, b: max(0.5 - x, 0) ** 2 / 2),
}
POINTS = torch.tensor([[-3.0, -0.4, 0.1], [0.6, 2.0, 7.0]], dtype=torch.float64)


@pytest.mark.parametrize(("map_", "formula"), MAPS.values(), ids=MAPS.keys())
def test_values_and_slopes(map_: Map, formula):  # type: ignore[no-untyped-def]
    given = (
        (torch.tensor(0.3, dtype=torch.float64, requires_grad=True),) if isinstance(map_, Softplus | Sigmoid) else ()
    )
    leaf = POINTS.clone().requires_grad_()
    want = torch.tensor(
        [[formula(x, 0.3 if given else 0) for x in row] for row in POINTS.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(map_(leaf, *given).detach(), want)
    slopes = map_.slopes(POINTS, *(g.detach() for g in given))
    torch.testing.assert_close(map_.slope(POINTS, *(g.detach() for g in given)), slopes[0])
    found = torch.autograd.grad(map_(leaf, *given).sum(), [leaf, *given])
    step = 1e-6
    for i, row in enumerate(POINTS.tolist()):
        for j, x in enumerate(row):
            numeric = (formula(x + step, 0.3 if given else 0) - formula(x - step, 0.3 if given else 0)) / (2 * step)
            assert float(slopes[0][i, j]) == pytest.approx(numeric, abs=1e-8)
    for slope, gradient in zip(slopes, found, strict=True):
        torch.testing.assert_close(slope if gradient.ndim else slope.sum(), gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_softplus_is_exact_from_end_to_end(dtype: torch.dtype):
    x = torch.tensor([-1e4, -80.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 80.0, 1e4], dtype=dtype)
    want = [math.log1p(math.exp(v)) if v < 30 else v for v in x.tolist()]
    assert softplus(x).tolist() == pytest.approx(want, rel=4 * torch.finfo(dtype).eps)
    assert torch.isnan(softplus(torch.tensor([math.nan], dtype=dtype))).all()


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
@pytest.mark.parametrize(("map_", "formula"), MAPS.values(), ids=MAPS.keys())
def test_a_map_is_what_the_same_function_without_slopes_is(map_: Map, formula, strategy: str):  # type: ignore[no-untyped-def]
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bias = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    given = (bias,) if isinstance(map_, Softplus | Sigmoid) else ()
    found = []
    for of in (map_, lambda s, *g: map_(s, *g)):
        scores = Scores(Cosine(), z, z, matching(3, 2, z.device), 0.5, strategy)
        total = torch.cat(scores.reduce(Sum("far", of=of, given=given), Sum("any", of=of, given=given)))
        weights = torch.arange(1.0, 13.0, dtype=torch.float64)
        found.append([total, *torch.autograd.grad((total * weights).sum(), [z, *given])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def joint(strategy: str) -> tuple[torch.Tensor, Scores]:
    z = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    return z, Scores(Cosine(), z, z, same_key(torch.tensor([0, 1, 0, 2, 0, 1, 3, 0, 4])), 0.5, strategy)


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_excess_over_a_score_of_each_anchor(strategy: str):
    """Values and gradients, those of the given scores too, by a loop over pairs."""
    z, scores = joint(strategy)
    limit = torch.linspace(-1, 1, 9, dtype=torch.float64).requires_grad_()
    total, count = scores.reduce(
        Sum("far", of=Excess(0.3), given=(limit,)), Sum("far", of=Excess(0.3, count=True), given=(limit,))
    )
    unit, keys = torch.nn.functional.normalize(z, dim=1), [0, 1, 0, 2, 0, 1, 3, 0, 4]
    want, number = [], []
    for i in range(9):
        excess = [unit[i] @ unit[j] / 0.5 - limit[i] + 0.3 for j in range(9) if keys[j] != keys[i]]
        above = [e for e in excess if float(e.detach()) > 0]
        want.append(sum(above) if above else limit[i] * 0)
        number.append(len(above))
    weights = torch.arange(1.0, 10.0, dtype=torch.float64)
    torch.testing.assert_close(total, torch.stack(want))
    assert count.tolist() == number and 0 < sum(number) < 60
    ours = torch.autograd.grad((total * weights).sum(), [z, limit], retain_graph=True)
    theirs = torch.autograd.grad((torch.stack(want) * weights).sum(), [z, limit])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_the_best_below_a_score_of_each_anchor(strategy: str):
    z, scores = joint(strategy)
    limit = torch.linspace(-1.5, 1.5, 9, dtype=torch.float64)
    (best,) = scores.reduce(Max("far", of=Below(), given=(limit,)))
    unit, keys = torch.nn.functional.normalize(z, dim=1), [0, 1, 0, 2, 0, 1, 3, 0, 4]
    want = []
    for i in range(9):
        known = [unit[i] @ unit[j] / 0.5 for j in range(9) if keys[j] != keys[i]]
        want.append(max((k for k in known if float(k.detach()) < limit[i]), default=torch.tensor(-torch.inf)))
    assert best.tolist() == pytest.approx([float(w) for w in want])
    found = torch.where(best > -torch.inf, best, 0).sum()
    torch.testing.assert_close(
        torch.autograd.grad(found, z)[0], torch.autograd.grad(sum(w for w in want if w > -torch.inf), z)[0]
    )


def test_near_scores_one_by_one():
    z, scores = joint("tiled")
    unit = torch.nn.functional.normalize(z.detach(), dim=1)
    near = {0: [2, 4, 7], 1: [5], 2: [0, 4, 7], 3: [], 4: [0, 2, 7], 5: [1], 6: [], 7: [0, 2, 4], 8: []}
    each = scores.near_each(3)
    assert each is not None and len(each) == 3
    for k, (values, there) in enumerate(each):
        for i, columns in near.items():
            assert bool(there[i]) == (k < len(columns))
            want = float(unit[i] @ unit[columns[k]]) / 0.5 if k < len(columns) else torch.inf
            assert float(values[i]) == pytest.approx(want)
    assert scores.near_each(2) is None and joint("dense")[1].near_each(3) is None
