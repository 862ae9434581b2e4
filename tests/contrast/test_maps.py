"""Maps of scores: their values and derivatives, against mathematics in float64."""

from __future__ import annotations

import math

import pytest
import torch

from nearfar.contrast import Hinge, Map, Scores, Softplus, Sum
from nearfar.contrast.maps import softplus
from nearfar.contrast.relation import matching
from nearfar.contrast.similarity import Cosine

MAPS = {
    "softplus": (Softplus(), lambda x, b: math.log1p(math.exp(x + b))),
    "falling softplus": (Softplus(-1.0), lambda x, b: math.log1p(math.exp(-x - b))),
    "hinge": (Hinge(0.5), lambda x, b: max(0.5 + x, 0)),
    "falling hinge": (Hinge(0.5, -1.0), lambda x, b: max(0.5 - x, 0)),
    "square": (Hinge(0.5, -1.0, squared=True), lambda x, b: max(0.5 - x, 0) ** 2 / 2),
}
POINTS = torch.tensor([[-3.0, -0.4, 0.1], [0.6, 2.0, 7.0]], dtype=torch.float64)


@pytest.mark.parametrize(("map_", "formula"), MAPS.values(), ids=MAPS.keys())
def test_values_and_slopes(map_: Map, formula):  # type: ignore[no-untyped-def]
    given = (torch.tensor(0.3, dtype=torch.float64, requires_grad=True),) if isinstance(map_, Softplus) else ()
    leaf = POINTS.clone().requires_grad_()
    want = torch.tensor(
        [[formula(x, 0.3 if given else 0) for x in row] for row in POINTS.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(map_(leaf, *given).detach(), want)
    slopes = map_.slopes(POINTS, *(g.detach() for g in given))
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
    given = (bias,) if isinstance(map_, Softplus) else ()
    found = []
    for of in (map_, lambda s, *g: map_(s, *g)):
        scores = Scores(Cosine(), z, z, matching(3, 2, z.device), 0.5, strategy)
        total = torch.cat(scores.reduce(Sum("far", of=of, given=given), Sum("any", of=of, given=given)))
        weights = torch.arange(1.0, 13.0, dtype=torch.float64)
        found.append([total, *torch.autograd.grad((total * weights).sum(), [z, *given])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
