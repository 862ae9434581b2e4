"""Objectives of deep metric learning against pytorch-metric-learning, where it is installed: rows and labels."""

from __future__ import annotations

import pytest
import torch
from test_peers import LABELS, agree, doubled, strategies

from nearfar.contrast import Strategy
from nearfar.objectives import Circle, GeneralizedLifted, LiftedStructure, MultiSimilarity

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
