"""Angles, signal to noise, the Poincare ball and lengths along a direction, against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.contrast import (
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeAngle,
    NegativePoincare,
    NegativeSNR,
    Projection,
    Scores,
    Similarity,
    same_key,
)
from nearfar.contrast.blocks import scores_of
from nearfar.objectives import NTXent, TripletHard, build

MEASURES = [NegativeAngle(), NegativePoincare(), NegativeSNR(), Projection()]
every = pytest.mark.parametrize("measure", MEASURES, ids=lambda m: type(m).__name__)


def rows(seed: int, n: int) -> Tensor:
    """Inside the unit ball."""
    return torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / 6


def norm(x: list[float]) -> float:
    return math.sqrt(sum(v * v for v in x))


def variance(x: list[float]) -> float:
    return sum((v - sum(x) / len(x)) ** 2 for v in x) / (len(x) - 1)


def naive(measure: Similarity, a: Tensor, c: Tensor) -> float:
    x, y = a.tolist(), c.tolist()
    product, difference = sum(p * q for p, q in zip(x, y, strict=True)), [p - q for p, q in zip(x, y, strict=True)]
    if isinstance(measure, NegativeAngle):
        return -math.acos(product / norm(x) / norm(y))
    if isinstance(measure, NegativePoincare):
        return -math.acosh(1 + 2 * norm(difference) ** 2 / ((1 - norm(x) ** 2) * (1 - norm(y) ** 2)))
    if isinstance(measure, NegativeSNR):
        return -variance(difference) / variance(x)
    return product / norm(y)


@every
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_scores_are_the_formula_divided_by_the_temperature(measure: Similarity, temperature: float):
    a, c = rows(0, 4), rows(1, 5)
    scores = Scores(measure, a, c, same_key(torch.arange(4), torch.arange(5)), temperature)
    want = torch.tensor([[naive(measure, x, y) for y in c] for x in a], dtype=torch.float64) / temperature
    torch.testing.assert_close(scores_of(scores.similarity, scores.u, scores.v), want, rtol=1e-9, atol=1e-9)
    assert float(want.abs().max()) <= scores.similarity.bound(scores.u, scores.v) * (1 + 1e-12)


@every
def test_gradients(measure: Similarity):
    a, c = rows(2, 3).requires_grad_(), rows(3, 4).requires_grad_()

    def value(a: Tensor, c: Tensor) -> Tensor:
        made = measure.at(0.7)
        return scores_of(made, *made.prepare(a, c, 0.7))

    assert torch.autograd.gradcheck(value, (a, c))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_rows_opposite_rows_and_rows_of_norm_zero_have_finite_gradients(measure: Similarity, dtype: torch.dtype):
    a = rows(0, 4).to(dtype)
    a[1], a[3] = 0, -2 * a[0]
    a, c = a.requires_grad_(), a.detach().clone().requires_grad_()
    scores = scores_of(measure, *measure.prepare(a, c, 1.0))
    scores.sum().backward()
    assert torch.isfinite(scores).all() and torch.isfinite(a.grad).all() and torch.isfinite(c.grad).all()


@every
def test_one_set_of_rows_is_scored_the_same_however_it_is_visited(measure: Similarity):
    """Signal to noise differs from side to side, so that no tile may stand for its mirror image."""
    z, labels = rows(0, 7), torch.tensor([0, 1, 0, 2, 1, 0, 2])
    for strategy in ("dense", "tiled"):
        leaf = z.clone().requires_grad_()
        scores = Scores(measure, leaf, leaf, same_key(labels), strategy=strategy)
        assert scores.symmetric == (not isinstance(measure, NegativeSNR | Projection))
        far, near = scores.reduce(LogSumExp("far"), Mean("near"))
        for i in range(7):
            s = [naive(measure, z[i], z[j]) if j != i else math.nan for j in range(7)]
            others = [math.exp(s[j]) for j in range(7) if labels[j] != labels[i]]
            mine = [s[j] for j in range(7) if j != i and labels[j] == labels[i]]
            assert float(far[i].detach()) == pytest.approx(math.log(sum(others)), abs=1e-9)
            assert float(near[i].detach()) == pytest.approx(sum(mine) / len(mine), abs=1e-9)


@every
def test_objectives_take_them(measure: Similarity):
    views = [rows(k, 5) for k in range(2)]
    for objective in (NTXent(similarity=measure, temperature=0.5), TripletHard(similarity=measure)):
        again = build(objective.config())
        assert again.similarity == measure
        how = {"labels": torch.tensor([0, 1, 0, 1, 1])}
        torch.testing.assert_close(again(*views, **how), objective(*views, **how, strategy="dense"))
        torch.testing.assert_close(again(*views, **how), objective(*views, **how, strategy="tiled"))


def test_what_unrelated_and_equal_rows_score():
    assert NTXent(similarity=NegativeAngle()).inspect(rows(0, 3), rows(1, 3)).chance == pytest.approx(math.log(5))
    assert NegativeAngle().unrelated == pytest.approx(-math.pi / 2) and NegativeAngle().equal == 0
    assert [m.unrelated for m in MEASURES[1:]] == [None] * 3 and Projection().equal is None


def test_rows_outside_the_ball_are_pulled_back_to_its_rim():
    measure, far = NegativePoincare(radius=0.9), 3 * torch.eye(2, dtype=torch.float64)
    got = scores_of(measure, *measure.prepare(far, far.clone(), 1.0))[0, 1]
    assert float(got) == pytest.approx(naive(measure, 0.3 * far[0], 0.3 * far[1]))


def test_a_learned_temperature_is_refused_where_it_cannot_be_learned():
    with pytest.raises(ValueError, match="NegativeAngle takes a fixed temperature only"):
        NTXent(similarity=NegativeAngle(), temperature=LearnedTemperature(0.1))(rows(0, 3), rows(1, 3))
    assert NTXent(similarity=NegativeSNR(), temperature=LearnedTemperature(0.1))(rows(0, 3), rows(1, 3)).requires_grad


def test_signal_to_noise_is_that_of_metric_learning():
    peer = pytest.importorskip("pytorch_metric_learning.distances").SNRDistance(normalize_embeddings=False)
    a, c = rows(4, 5), rows(5, 6)
    torch.testing.assert_close(scores_of(NegativeSNR(), *NegativeSNR().prepare(a, c, 1.0)), -peer(a, c))
