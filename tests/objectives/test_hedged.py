"""What hedged rows promise beyond the battery."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows

from nearfar.objectives import Hedged, hedged

F64 = torch.float64


def test_a_standard_gaussian_does_not_diverge_and_others_do():
    zero = torch.zeros(3, 4, dtype=F64)
    seen = Hedged(kl=1.0).inspect(zero, zero)
    assert float(seen.terms["divergence"]) == 0
    wide = torch.full((3, 2, 4), math.log(4.0), dtype=F64)
    got = Hedged(kl=1.0).inspect(zero + 1, zero + 1, log_variance=wide).terms["divergence"]
    assert float(got) == pytest.approx(2 * 4 * (1 + 4 - 1 - math.log(4)) / 2)  # of both rows of a pair


def test_uncertainty_rises_with_the_variance_and_sees_the_match_probability():
    made = Hedged(samples=400, temperature=0.5, bias=2.0)
    logs = torch.linspace(-9, 3, 7, dtype=F64)
    torch.manual_seed(0)
    found = made.uncertainty(torch.zeros(7, 3, dtype=F64), logs[:, None].expand(7, 3))
    assert bool((found.diff() > 0).all())
    assert float(found[0]) == pytest.approx(1 - 1 / (1 + math.exp(-2)), abs=0.02)  # without variance sigmoid(b)
    noise = rows(3, 7 * 2 * 5, 3).view(7, 2, 5, 3)
    few = made.uncertainty(torch.zeros(7, 3, dtype=F64), logs[:, None].expand(7, 3), noise)
    for i in range(7):
        one, other = (noise[i, k] * math.exp(float(logs[i]) / 2) for k in (0, 1))
        p = [1 / (1 + math.exp(float((u - v).norm()) / 0.5 - 2)) for u in one for v in other]
        assert float(few[i]) == pytest.approx(1 - sum(p) / len(p), abs=1e-12)


def test_labels_say_who_is_near_and_unknown_rows_take_no_part():
    views = [rows(k, 6) for k in range(2)]
    noise = rows(2, 6 * 2 * 3, 3).view(6, 2, 3, 3)
    labels = torch.tensor([0, 1, 0, -1, 1, -1])
    kept = labels >= 0
    made = Hedged(samples=3, kl=0.0)
    got = made(*views, noise=noise, labels=labels)
    torch.testing.assert_close(got, made(*(v[kept] for v in views), noise=noise[kept], labels=labels[kept]))
    by_item = made(*(v[kept] for v in views), noise=noise[kept])
    assert not torch.isclose(got, by_item)


def test_panels_give_the_value_and_the_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    results = []
    for block in (1 << 22, 300):
        monkeypatch.setattr(hedged, "BLOCK", block)
        views = [rows(k, 9).requires_grad_() for k in range(2)]
        spread = rows(4, 18).view(9, 2, 3).requires_grad_()
        noise = rows(5, 9 * 2 * 4, 3).view(9, 2, 4, 3)
        made = Hedged(samples=4).double()
        value = made(*views, log_variance=spread, noise=noise)
        results.append([value, *torch.autograd.grad(value, [*views, spread, *made.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_reach_the_variances():
    a, b = rows(0, 4), rows(1, 4)
    noise = rows(2, 4 * 2 * 2, 3).view(4, 2, 2, 3)
    made = Hedged(samples=2).double()
    spread = rows(3, 8).view(4, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: made(a, b, log_variance=s, noise=noise), spread)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="samples is at least 1"):
        Hedged(samples=0)
    with pytest.raises(ValueError, match=r"log_variance must be \(N, V, D\) \(4, 2, 3\), got \(4, 3\)"):
        Hedged()(rows(0, 4), rows(1, 4), log_variance=rows(2, 4))
