"""Similarities against plain formulas: values, gradients, temperatures, rows of norm zero, distances of zero."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.contrast import Cosine, Dot, NegativeEuclidean, NegativeSquaredEuclidean, ShiftedCosine, Similarity
from nearfar.contrast.blocks import Link, pair_scores, scores_of
from nearfar.contrast.similarity import Constant, unit

SIMILARITIES = [
    Cosine(),
    ShiftedCosine((0.3, -0.2, 0.5)),
    ShiftedCosine((0.4,)),
    Dot(),
    NegativeEuclidean(),
    NegativeEuclidean(normalize=False),
    NegativeEuclidean(power=0.5),
    NegativeEuclidean(power=1.5, normalize=False),
    NegativeEuclidean(power=2.0),
    NegativeSquaredEuclidean(),
    NegativeSquaredEuclidean(normalize=False),
]
every = pytest.mark.parametrize("similarity", SIMILARITIES, ids=repr)


def rows(seed: int, n: int) -> Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive(similarity: Similarity, a: Tensor, c: Tensor) -> float:
    x, y = a.tolist(), c.tolist()
    if isinstance(similarity, Cosine) or getattr(similarity, "normalize", False):
        x, y = ([v / math.sqrt(sum(w * w for w in r)) for v in r] for r in (x, y))
    if isinstance(similarity, ShiftedCosine):
        centre = similarity.centre * (3 // len(similarity.centre))
        x, y = ([v - c for v, c in zip(r, centre, strict=True)] for r in (x, y))
        x, y = ([v / math.sqrt(sum(w * w for w in r)) for v in r] for r in (x, y))
    if isinstance(similarity, Cosine | Dot):
        return sum(p * q for p, q in zip(x, y, strict=True))
    square = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
    return -(math.sqrt(square) ** similarity.power) if isinstance(similarity, NegativeEuclidean) else -square


@every
@pytest.mark.parametrize("temperature", [1.0, 0.3, torch.tensor(2.0, dtype=torch.float64)], ids=str)
def test_scores_are_the_formula_divided_by_the_temperature(similarity: Similarity, temperature: float | Tensor):
    a, c = rows(0, 4), rows(1, 5)
    u, v = similarity.prepare(a, c, temperature)
    want = torch.tensor([[naive(similarity, x, y) for y in c] for x in a], dtype=torch.float64) / temperature
    torch.testing.assert_close(scores_of(similarity, u, v), want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pair_scores(similarity, u, v[:4]), want[:, :4].diagonal(), rtol=1e-9, atol=1e-9)
    assert similarity.link_(u @ v.T).tolist() == scores_of(similarity, u, v).tolist()


@every
def test_one_set_of_rows_is_scored_as_two_equal_ones(similarity: Similarity):
    a = rows(0, 4)
    one, two = similarity.prepare(a, a, 0.5), similarity.prepare(a, a.clone(), 0.5)
    torch.testing.assert_close(scores_of(similarity, *one), scores_of(similarity, *two))


@every
def test_gradients_of_rows_and_temperature(similarity: Similarity):
    a, c = rows(2, 3).requires_grad_(), rows(3, 4).requires_grad_()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def value(a: Tensor, c: Tensor, t: Tensor) -> Tensor:
        return scores_of(similarity, *similarity.prepare(a, c, t))

    assert torch.autograd.gradcheck(value, (a, c, temperature))


@every
def test_the_temperature_has_a_gradient(similarity: Similarity):
    """d (s / t) / d t = -s / t^2, by hand."""
    a, c = rows(2, 3), rows(3, 3)
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    scores_of(similarity, *similarity.prepare(a, c, temperature)).sum().backward()
    total = sum(naive(similarity, x, y) for x in a for y in c)
    assert float(temperature.grad) == pytest.approx(-total / 0.49)


@every
def test_rows_of_norm_zero_have_finite_scores_and_gradients(similarity: Similarity):
    a, c = rows(0, 3), rows(1, 3)
    a[1], c[2] = 0, 0
    a.requires_grad_(), c.requires_grad_()
    scores = scores_of(similarity, *similarity.prepare(a, c, 0.5))
    scores.sum().backward()
    assert torch.isfinite(scores).all() and torch.isfinite(a.grad).all() and torch.isfinite(c.grad).all()
    if similarity == Cosine():
        assert not scores[1].any() and not scores[:, 2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every
def test_pairs_at_distance_zero_have_finite_gradients(similarity: Similarity, dtype: torch.dtype):
    a = rows(0, 3).to(dtype).requires_grad_()
    c = a.detach().clone().requires_grad_()
    scores = scores_of(similarity, *similarity.prepare(a, c, 1.0))
    scores.sum().backward()
    assert torch.isfinite(a.grad).all() and torch.isfinite(c.grad).all()
    if similarity == NegativeEuclidean():
        assert scores.diagonal().tolist() == [0, 0, 0]


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5])
def test_the_slope_of_a_distance_is_zero_at_zero(power: float):
    a, similarity = rows(0, 1).requires_grad_(), NegativeEuclidean(power=power)
    scores_of(similarity, *similarity.prepare(a, a.detach().clone(), 1.0)).sum().backward()
    assert not a.grad.any()


@pytest.mark.parametrize("power", [0.0, -1.0, 2.1, float("nan")])
def test_powers_that_make_no_kernel_are_refused(power: float):
    with pytest.raises(ValueError, match="above 0 and at most 2"):
        NegativeEuclidean(power=power)


@every
def test_no_score_lies_above_the_bound(similarity: Similarity):
    for scale in (1.0, 30.0):
        a, c = rows(4, 6) * scale, rows(5, 6) * scale
        u, v = similarity.prepare(a, c, 0.2)
        assert float(scores_of(similarity, u, v).abs().max()) <= similarity.bound(u, v) * (1 + 1e-12)
    assert similarity.bound(u[:0], v) == 0


@every
def test_the_slope_of_the_link_is_that_of_autograd(similarity: Similarity):
    products = -torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    products.retain_grad()
    scores = products * 1.0 if similarity.linear else Link.apply(products, similarity)
    scores.sum().backward()
    squares, half = -products.detach(), getattr(similarity, "power", 2.0) / 2
    torch.testing.assert_close(scores.detach(), -(squares**half))
    slope = half * squares ** (half - 1)
    torch.testing.assert_close(products.grad, slope)
    torch.testing.assert_close(similarity.link_slope(scores.detach()), slope)


@every
def test_what_unrelated_rows_score(similarity: Similarity):
    z = torch.eye(2, 3, dtype=torch.float64)
    if similarity.unrelated is None:
        assert isinstance(similarity, ShiftedCosine) or not similarity.normalize  # type: ignore[attr-defined]
    else:
        u, v = similarity.prepare(z[:1], z[1:], 1.0)
        assert float(scores_of(similarity, u, v)) == pytest.approx(similarity.unrelated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1.0, 1e15])
def test_unit_rows_are_those_of_torch(scale: float, dtype: torch.dtype):
    results = []
    for function in (unit, lambda z: torch.nn.functional.normalize(z, dim=1)):
        z = (rows(0, 5).to(dtype) * scale).requires_grad_()
        made = function(z)
        (slope,) = torch.autograd.grad((made * rows(1, 5).to(dtype)).sum(), z)
        results.append((made.detach(), slope))
    (made, slope), (want, want_slope) = results
    torch.testing.assert_close(made, want)
    torch.testing.assert_close(slope, want_slope, rtol=1e-4, atol=1e-6 * float(want_slope.abs().max()))


def test_squared_distance_is_two_minus_two_cosines_on_unit_rows():
    a, c = rows(0, 4), rows(1, 4)
    square = scores_of(NegativeSquaredEuclidean(), *NegativeSquaredEuclidean().prepare(a, c, 1.0))
    cosine = scores_of(Cosine(), *Cosine().prepare(a, c, 1.0))
    torch.testing.assert_close(square, 2 * cosine - 2)


def test_a_constant_scores_all_pairs_alike():
    u, v = Constant(0.5).prepare(rows(0, 2), rows(1, 3), torch.tensor(0.25))
    assert scores_of(Constant(0.5), u, v).tolist() == [[2.0] * 3] * 2


def test_a_centre_is_the_mean_of_unit_rows_and_of_their_width():
    z = rows(0, 5)
    want = torch.stack([r / r.norm() for r in z]).mean(0)
    made = ShiftedCosine.around(z)
    torch.testing.assert_close(torch.tensor(made.centre, dtype=torch.float64), want)
    assert made == ShiftedCosine(list(made.centre)) and repr(made) == "ShiftedCosine(3 numbers)"
    with pytest.raises(ValueError, match="the centre has 3 numbers, the rows have 4"):
        made.prepare(torch.ones(2, 4), torch.ones(2, 4), 1.0)
