"""Objectives of deep metric learning against pytorch-metric-learning, where it is installed: rows and labels."""

from __future__ import annotations

import math

import pytest
import torch
from test_peers import LABELS, agree, doubled, strategies
from torch.nn.functional import normalize

from nearfar.contrast import Strategy
from nearfar.objectives import (
    Angular,
    Circle,
    FastAP,
    GeneralizedLifted,
    LiftedStructure,
    MultiSimilarity,
    RankedList,
    SmoothAP,
    TupletMargin,
)

losses = pytest.importorskip("pytorch_metric_learning.losses")
miners = pytest.importorskip("pytorch_metric_learning.miners")


@strategies
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LiftedStructure(margin=1.5), losses.LiftedStructureLoss(neg_margin=1.5)),
        (GeneralizedLifted(margin=0.5), losses.GeneralizedLiftedStructureLoss(neg_margin=0.5)),
        (Circle(), losses.CircleLoss()),
        (Circle(temperature=1 / 16, margin=0.25), losses.CircleLoss(gamma=16, m=0.25)),
        (MultiSimilarity(), losses.MultiSimilarityLoss()),
        (MultiSimilarity(near_scale=1.0, far_scale=9.0, base=0.2), losses.MultiSimilarityLoss(1, 9, 0.2)),
        (FastAP(), losses.FastAPLoss()),
        (FastAP(bins=4), losses.FastAPLoss(4)),
        (TupletMargin(margin=math.radians(5.73)), losses.TupletMarginLoss()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_values_and_gradients_are_those_of_metric_learning(ours, theirs, strategy: Strategy):
    agree(
        lambda a, b: ours(a, b, labels=LABELS, strategy=strategy),
        lambda a, b: theirs(torch.cat([a, b]), doubled),
    )


@strategies
def test_mined_pairs_are_those_of_metric_learning(strategy: Strategy):
    theirs, miner = losses.MultiSimilarityLoss(2, 40, 0.5), miners.MultiSimilarityMiner(epsilon=0.1)
    ours = MultiSimilarity(far_scale=40.0, mining=0.1)

    def mined(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        z = torch.cat([a, b])
        return theirs(z, doubled, miner(z, doubled))

    agree(lambda a, b: ours(a, b, labels=LABELS, strategy=strategy), mined)


@strategies
def test_angles_are_those_of_metric_learning(strategy: Strategy):
    """Theirs takes far rows as they are, which are to be of unit length."""
    theirs = losses.AngularLoss(alpha=45)
    agree(
        lambda a, b: Angular(angle=45.0)(a, b, labels=LABELS, strategy=strategy),
        lambda a, b: theirs(normalize(torch.cat([a, b]), dim=1), doubled),
    )


@strategies
@pytest.mark.filterwarnings("ignore:Values of Tp or Tn are too high")
def test_ranked_lists_are_those_of_metric_learning_but_for_what_it_adds_to_each_weight(strategy: Strategy):
    theirs = losses.RankedListLoss(margin=0.4, Tn=10, Tp=2)
    ours = RankedList(near_weighting=2.0)
    agree(
        lambda a, b: ours(a, b, labels=LABELS, strategy=strategy),
        lambda a, b: theirs(torch.cat([a, b]), doubled),
        tolerance=1e-3,
    )


@strategies
def test_average_precision_is_that_of_metric_learning_where_the_anchor_leads_its_own_list(strategy: Strategy):
    """Their lists hold the anchor, ahead of all; theirs needs as many classes as rows of each."""
    labels, near = torch.arange(3).repeat_interleave(3), 2
    z = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    s = normalize(z, dim=1) @ normalize(z, dim=1).T
    own, led = [], []
    for i in range(9):
        order = [j for j in s[i].argsort(descending=True).tolist() if j != i]
        places = [k for k, j in enumerate(order) if labels[j] == labels[i]]
        own.append(sum((n + 1) / (k + 1) for n, k in enumerate(places)) / near)
        led.append((1 + sum((n + 2) / (k + 2) for n, k in enumerate(places))) / (1 + near))
    ours, theirs = SmoothAP(temperature=1e-4), losses.SmoothAPLoss(temperature=1e-4)
    assert float(ours(z, labels=labels, strategy=strategy)) == pytest.approx(1 - sum(own) / 9, abs=1e-6)
    assert float(theirs(z, labels)) == pytest.approx(1 - sum(led) / 9, abs=1e-6)
