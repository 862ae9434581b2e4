"""I-Con's two distributions: neighbours of inputs, gradients of SNE in closed form, and what alpha forgets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from case import rows
from torch import Tensor

from nearfar.contrast import NegativeSquaredEuclidean, Relation, Strategy
from nearfar.objectives import ICon, NTXent, SupCon, distributions, nearest_neighbours, perplexity_neighbours

LABELS = torch.tensor([0, 1, 0, 1, 2, 0, 2, 1])


def near_weights(relation: Relation) -> Tensor:
    r, c = relation.shape
    return relation.weights("near", slice(0, r), slice(0, c)).full(torch.empty(r, c, dtype=torch.float64))


@pytest.mark.parametrize("perplexity", [1.5, 3.0, 6.5])
@pytest.mark.parametrize("panel", [1, 25, 1 << 22])
def test_every_row_has_as_many_neighbours_as_the_perplexity_says(
    perplexity: float, panel: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(distributions, "PANEL", panel)
    x = rows(0, 10, 2)
    p = near_weights(perplexity_neighbours(x, perplexity))
    assert not p.diagonal().any()
    for i in range(10):
        shares = [float(p[i, j]) for j in range(10) if j != i]
        squares = [math.dist(x[i].tolist(), x[j].tolist()) ** 2 for j in range(10) if j != i]
        assert sum(shares) == pytest.approx(1)
        assert -sum(s * math.log(s) for s in shares if s) == pytest.approx(math.log(perplexity), abs=1e-9)
        # A Gaussian: the logarithms fall in proportion to the squared distances.
        first, *others = sorted((d, s) for d, s in zip(squares, shares, strict=True) if s > 1e-300)
        rates = [math.log(first[1] / s) / (d - first[0]) for d, s in others]
        assert rates[0] > 0 and rates == pytest.approx([rates[0]] * len(rates), rel=1e-6)


def test_rows_far_away_and_rows_that_repeat_have_neighbours_too():
    x = torch.cat([rows(0, 5, 2), rows(1, 5, 2) + 1e3, torch.zeros(3, 2).double()])
    p = near_weights(perplexity_neighbours(x.float(), 3.0))
    torch.testing.assert_close(p.sum(1), torch.ones(13).double(), rtol=1e-4, atol=1e-4)
    assert float(p[:5, 5:10].sum()) == 0


@pytest.mark.parametrize("perplexity", [1.0, 9.0, 20.0])
def test_perplexities_that_no_row_can_have_are_refused(perplexity: float):
    with pytest.raises(ValueError, match="the perplexity of 10 rows lies between 1 and 9"):
        perplexity_neighbours(rows(0, 10), perplexity)


def test_the_nearest_rows_are_near(monkeypatch: pytest.MonkeyPatch):
    x = rows(2, 9, 2)
    want = torch.zeros(9, 9).double()
    for i in range(9):
        others = sorted((math.dist(x[i].tolist(), x[j].tolist()), j) for j in range(9) if j != i)
        for _, j in others[:3]:
            want[i, j] = 1
    for panel in (1, 20, 1 << 22):
        monkeypatch.setattr(distributions, "PANEL", panel)
        assert torch.equal(near_weights(nearest_neighbours(x, 3)), want)
    with pytest.raises(ValueError, match="k is from 1 to 8 for 9 rows, got 9"):
        nearest_neighbours(x, 9)


@pytest.mark.parametrize("df", [None, 1.0])
def test_gradients_of_sne_in_closed_form(df: float | None):
    """(2 / N) sum_j (p_ij - q_ij + p_ji - q_ji) (y_i - y_j) k_ij, k = 1 for SNE and 1 / (1 + d^2) for Student's t."""
    x, y = rows(3, 10, 4), rows(4, 10, 2).requires_grad_()
    relation = perplexity_neighbours(x, 4.0)
    p = near_weights(relation)
    square = torch.cdist(y, y).square().detach()
    kernel = torch.exp(-square) if df is None else 1 / (1 + square)
    kernel.fill_diagonal_(0)
    q = kernel / kernel.sum(1, keepdim=True)
    slope = torch.ones(10, 10).double() if df is None else 1 / (1 + square)
    part = (p - q + (p - q).T) * slope
    want = 2 / 10 * (part.sum(1, keepdim=True) * y.detach() - part @ y.detach())
    entropy = -torch.special.xlogy(p, p).sum(1).mean()
    for divergence, less in (("kl", 0.0), ("ce", float(entropy))):
        loss = ICon(similarity=NegativeSquaredEuclidean(normalize=False), temperature=1.0, divergence=divergence, df=df)
        for strategy in (Strategy("dense"), Strategy("tiled", 4)):
            value = loss(y, relation=relation, strategy=strategy)
            off = ~torch.eye(10, dtype=torch.bool)
            assert float(value.detach()) - less == pytest.approx(float((p * (p / q).log())[off].sum() / 10), abs=1e-9)
            torch.testing.assert_close(torch.autograd.grad(value, y)[0], want, rtol=1e-9, atol=1e-9)


def test_views_and_labels_give_the_known_objectives():
    a, b = rows(0, 8), rows(1, 8)
    torch.testing.assert_close(ICon(temperature=0.2)(a, b), NTXent(temperature=0.2)(a, b))
    torch.testing.assert_close(ICon(temperature=0.2)(a, labels=LABELS), SupCon(temperature=0.2)(a, labels=LABELS))


@pytest.mark.parametrize("divergence", distributions.DIVERGENCES)
def test_a_share_of_one_forgets_who_is_near(divergence: str):
    z, loss = rows(0, 8), ICon(divergence=divergence, alpha=1.0)
    torch.testing.assert_close(loss(z, labels=LABELS), loss(z, labels=LABELS.roll(3)))
    plain = loss.replace(alpha=0.0)
    assert abs(float(plain(z, labels=LABELS) - plain(z, labels=LABELS.roll(3)))) > 1e-3


@pytest.mark.parametrize("divergence", ["kl", "jsd", "tv", "hellinger", "l2"])
def test_equal_distributions_are_no_distance_apart(divergence: str):
    """Two groups, near pairs infinitely nearer than far ones."""
    z = torch.eye(2, dtype=torch.float64).repeat_interleave(4, 0)
    loss = ICon(divergence=divergence, temperature=0.01)
    assert float(loss(z, labels=torch.arange(8) // 4)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divergence": "chi"}, "divergence must be one of ce, kl, jsd, tv, hellinger, l2, got 'chi'"),
        ({"alpha": 1.1}, r"alpha is a share in \[0, 1\], got 1.1"),
        ({"df": 0.0, "similarity": NegativeSquaredEuclidean()}, "degrees of freedom, are above 0, got 0"),
        ({"df": 1.0}, r"Student's t is of squared distances: set similarity, which is Cosine\(\)"),
    ],
)
def test_impossible_arguments_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ICon(**change)
