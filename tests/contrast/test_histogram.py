"""Soft histograms against a loop over values and bins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.contrast import Histogram, Weights

VALUES = torch.tensor([[0.0, -0.3, -1.0, -1.9, -2.6], [-0.5, -0.25, 0.2, -4.0, -1.5]], dtype=torch.float64)
SOFT = torch.tensor([[1.0, 0.5, 0.0, 2.0, 1.0], [0.0, 1.0, 1.0, 1.0, 0.25]], dtype=torch.float64)
LAST, STEP = 4, -0.5


def naive(values: Tensor, weights: Tensor) -> Tensor:
    out = torch.zeros(len(values), LAST + 1, dtype=values.dtype)
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            for k in range(LAST + 1):
                out[i, k] += weights[i, j] * max(0.0, 1 - abs(value / STEP - k))
    return out


FORMS = {
    "all": (Weights(), torch.ones_like(SOFT)),
    "soft": (Weights(SOFT), SOFT),
    "bool": (Weights(SOFT > 0), (SOFT > 0).double()),
    "dropped": (Weights(None, (SOFT == 0).nonzero(as_tuple=True)), (SOFT > 0).double()),
}


@pytest.mark.parametrize("form", FORMS)
def test_counts_are_those_of_a_loop_in_one_block_or_two_or_from_a_list(form: str):
    weights, full = FORMS[form]
    histogram = Histogram("any", last=LAST, step=STEP)
    want = naive(VALUES, full)
    torch.testing.assert_close(histogram.measure(VALUES, weights, 0)[0], want)
    torch.testing.assert_close(histogram.measure(VALUES.T.contiguous().T, weights, 0)[0], want)
    halves = [
        histogram.measure(VALUES[:, part], Weights(full[:, part]), part.start) for part in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(histogram.value(histogram.merge(*halves)), want)
    rows, columns = (full > 0).nonzero(as_tuple=True)
    torch.testing.assert_close(histogram.of_pairs(VALUES[rows, columns], full[rows, columns], rows, 2), want)


@pytest.mark.parametrize("form", FORMS)
def test_slopes_are_differences_of_neighbouring_bins_and_none_at_a_bin(form: str):
    weights, full = FORMS[form]
    histogram = Histogram("any", last=LAST, step=STEP)
    upstream = torch.tensor([[1.0, -2.0, 0.5, 3.0, 0.25], [0.0, 4.0, 1.0, -1.0, 2.0]], dtype=torch.float64)
    got = histogram.grad(VALUES, weights, histogram.empty(2, VALUES), upstream, 0)
    for i in range(2):
        for j in range(5):
            place = float(VALUES[i, j]) / STEP
            low = math.floor(place)
            g = {k: float(upstream[i, k]) for k in range(LAST + 1)}
            slope = 0.0 if place == low else (g.get(low + 1, 0.0) - g.get(low, 0.0)) / STEP
            assert float(got[i, j]) == pytest.approx(float(full[i, j]) * slope)
    values = VALUES.clone().requires_grad_()
    rows, columns = (full > 0).nonzero(as_tuple=True)
    histogram.of_pairs(values[rows, columns], full[rows, columns], rows, 2).mul(upstream).sum().backward()
    torch.testing.assert_close(values.grad, got)


def test_not_a_number_is_seen():
    values = torch.tensor([[math.nan, -1.0]])
    histogram = Histogram("any", last=LAST, step=STEP)
    assert histogram.measure(values, Weights(), 0)[0].isnan().any()
    assert histogram.of_pairs(values[0], None, torch.tensor([0, 0]), 1).isnan().any()
    assert histogram.grad(values, Weights(), histogram.empty(1, values), torch.ones(1, LAST + 1), 0).shape == (1, 2)
