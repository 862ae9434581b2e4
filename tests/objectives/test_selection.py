"""Triplets selected by how hard they are, against pytorch-metric-learning; and far rows that are drawn by chance."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.contrast import Strategy
from nearfar.objectives import BoundaryMargin, TripletAll, TripletBand, TripletEasyHard, TripletHard, sampled_far

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2, 1, 0])
strategies = pytest.mark.parametrize("strategy", [Strategy("dense"), Strategy("tiled", 4)], ids=["dense", "tiled"])


def agree(ours, miner, strategy: Strategy) -> None:
    """With the triplets of a miner, in value and gradient; near rows are to be farther than 0 to have one."""
    loss = pytest.importorskip("pytorch_metric_learning.losses").TripletMarginLoss(margin=ours.margin)
    one, other = (rows(1, 10).requires_grad_() for _ in range(2))
    got = ours(one, labels=LABELS, strategy=strategy)
    want = loss(other, LABELS, miner(other, LABELS))
    assert float(got.detach()) > 0
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(torch.autograd.grad(got, one)[0], torch.autograd.grad(want, other)[0])


@strategies
@pytest.mark.parametrize("band", ["semihard", "hard"])
def test_bands_are_those_of_metric_learning(band: str, strategy: Strategy):
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    miner = miners.TripletMarginMiner(margin=0.4, type_of_triplets=band)
    agree(TripletBand(margin=0.4, band=band), miner, strategy)


PAIRS = ["easy semihard", "semihard hard", "hard semihard", "easy hard", "easy all", "all hard"]


@strategies
@pytest.mark.parametrize("choices", [tuple(pair.split()) for pair in PAIRS], ids=str)
def test_choices_are_those_of_metric_learning(choices: tuple[str, str], strategy: Strategy):
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    miner = miners.BatchEasyHardMiner(*choices)
    agree(TripletEasyHard(margin=0.4, near_choice=choices[0], far_choice=choices[1]), miner, strategy)


def test_hard_for_both_is_batch_hard():
    ours, hardest = TripletEasyHard(near_choice="hard", far_choice="hard"), TripletHard()
    torch.testing.assert_close(ours(rows(1, 10), labels=LABELS), hardest(rows(1, 10), labels=LABELS))


@pytest.mark.parametrize(
    ("choices", "message"),
    [(("all", "all"), "one of .* must be"), (("semihard", "all"), "one of .* must be"), (("worst", "all"), "'easy', ")],
)
def test_choices_that_choose_nothing_are_refused(choices: tuple[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        TripletEasyHard(near_choice=choices[0], far_choice=choices[1])
    with pytest.raises(ValueError, match="'semihard' or 'hard'"):
        TripletBand(band="easy")


# Far rows by chance ------------------------------------------------------------


def far_of(relation, anchor: int) -> list[int]:
    return relation.far.columns[relation.far.rows == anchor].tolist()


@pytest.mark.parametrize("by", ["distance", "uniform"])
def test_far_rows_are_drawn_as_often_as_their_weights_say(by: str):
    """By the rarity of a distance on the sphere, written out once more; frequencies lie within 5 deviations."""
    z, labels, draws = rows(3, 8, 4) + 0.7, torch.tensor([0, 0, 1, 1, 2, 2, -1, 3]), 4000
    generator = torch.Generator().manual_seed(0)
    seen = [0] * 8
    for _ in range(draws):
        for j in far_of(sampled_far(z, labels, 1, by=by, generator=generator), 0):
            seen[j] += 1
    unit = normalize(z, dim=1)
    weights = []
    for j in range(8):
        d = math.dist(unit[0].tolist(), unit[j].tolist())
        far = labels[j] > 0 and (by == "uniform" or d < 1.4)
        held = max(d, 0.5)
        rarity = held ** -(4 - 2) * (1 - held**2 / 4) ** (-(4 - 3) / 2) if far and by == "distance" else float(far)
        weights.append(rarity)
    assert sum(w > 0 for w in weights) >= 3
    for j in range(8):
        p = weights[j] / sum(weights)
        assert abs(seen[j] / draws - p) <= 5 * math.sqrt(p * (1 - p) / draws)


def test_draws_are_without_replacement_and_of_other_classes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nearfar.objectives.selection.PANEL", 3)
    z, labels = rows(3, 10), torch.tensor([0, 1, 0, 2, 1, 0, 2, -1, 1, 0])
    relation = sampled_far(z, labels, 3, by="uniform", generator=torch.Generator().manual_seed(1))
    for i in range(10):
        drawn = far_of(relation, i)
        assert len(drawn) == len(set(drawn)) == (0 if labels[i] < 0 else 3)
        assert all(labels[j] not in (labels[i], -1) for j in drawn)
        near = relation.near.columns[relation.near.rows == i].tolist()
        assert near == [j for j in range(10) if j != i and labels[j] == labels[i] >= 0]
    every = sampled_far(z, labels, 99, by="uniform")
    for objective in (TripletAll(), BoundaryMargin(), TripletHard()):
        torch.testing.assert_close(objective(z, relation=every), objective(z, labels=labels))
        assert torch.isfinite(objective(z, relation=sampled_far(z, labels, 1)))


def test_the_same_generator_draws_the_same_rows_and_no_gradient_passes():
    z = rows(3, 10).requires_grad_()
    one, other = (sampled_far(z, LABELS, 2, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.far.columns, other.far.columns)
    again = sampled_far(z, LABELS, 2, generator=torch.Generator().manual_seed(6))
    assert not torch.equal(one.far.columns, again.far.columns)
    for wrong in ({"count": 0}, {"count": 1, "by": "luck"}):
        with pytest.raises(ValueError, match="count is at least 1 and by is"):
            sampled_far(z, LABELS, **wrong)
    nobody: Tensor = torch.empty(0, 3)
    assert sampled_far(nobody, torch.empty(0).long(), 2).shape == (0, 0)
