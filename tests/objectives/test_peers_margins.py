"""Softmax over classes with margins against pytorch-metric-learning, where it is installed: rows and weights."""

from __future__ import annotations

import math

import pytest
import torch
from test_peers import LABELS, agree, doubled, strategies

from nearfar.contrast import Strategy
from nearfar.objectives import (
    ArcFace,
    CosFace,
    NormalizedSoftmax,
    SoftTriple,
    SphereFace,
    SubCentreArcFace,
    to_proxies,
)

losses = pytest.importorskip("pytorch_metric_learning.losses")
SIZE = {"num_classes": 3, "embedding_size": 5}


@strategies
@pytest.mark.parametrize(
    ("ours", "theirs", "each"),
    [
        (NormalizedSoftmax(), losses.NormalizedSoftmaxLoss(**SIZE), 1),
        (CosFace(temperature=1 / 8), losses.CosFaceLoss(**SIZE, scale=8), 1),
        (ArcFace(temperature=1 / 8), losses.ArcFaceLoss(**SIZE, margin=math.degrees(0.5), scale=8), 1),
        (ArcFace(margin=1.4), losses.ArcFaceLoss(**SIZE, margin=math.degrees(1.4)), 1),
        (SphereFace(), losses.SphereFaceLoss(**SIZE), 1),
        (
            SubCentreArcFace(temperature=1 / 8),
            losses.SubCenterArcFaceLoss(**SIZE, margin=math.degrees(0.5), scale=8, sub_centers=4),
            4,
        ),
        (SoftTriple(), losses.SoftTripleLoss(**SIZE, centers_per_class=4), 4),
    ],
    ids=lambda x: type(x).__name__,
)
def test_values_and_gradients_are_those_of_metric_learning(ours, theirs, each: int, strategy: Strategy):
    """Of the rows and of the weights, which stand in the second place here."""
    relation = to_proxies(doubled, 3, each=each)
    weights = torch.randn(3 * each, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    name = "fc" if hasattr(theirs, "fc") else "W"
    setattr(theirs, name, torch.nn.Parameter(weights.T.clone()))
    agree(
        lambda a, b: ours(torch.cat([a, b]), weights, relation=relation, strategy=strategy),
        lambda a, b: theirs(torch.cat([a, b]), doubled),
    )
    rows = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    own = weights.clone().requires_grad_()
    (got,) = torch.autograd.grad(ours(rows, own, relation=relation, strategy=strategy), own)
    (want,) = torch.autograd.grad(theirs(rows, doubled), getattr(theirs, name))
    torch.testing.assert_close(got, want.T, rtol=1e-6, atol=1e-6)


def test_margin_zero_is_the_same_softmax_everywhere():
    rows = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    weights = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    values = [
        made(rows, weights, relation=to_proxies(LABELS, 3))
        for made in (
            NormalizedSoftmax(temperature=0.1),
            CosFace(temperature=0.1, margin=0.0),
            ArcFace(temperature=0.1, margin=0.0),
            SubCentreArcFace(temperature=0.1, margin=0.0),
            SoftTriple(temperature=0.1, margin=0.0),
        )
    ]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0])
