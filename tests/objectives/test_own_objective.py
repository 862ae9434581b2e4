"""An objective that a user wrote passes the battery, and one that is wrong does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import softplus

from nearfar import testing
from nearfar.contrast import Composition, LogSumExp, Mean, Sum, current, entry
from nearfar.objectives import SigLIP, SupCon, SymmetricInfoNCE, TripletHard


@entry
class MarginNTXent(Composition):
    """NT-Xent whose near row must win by a margin."""

    formula = "mean_i log(1 + sum_(j far) exp((s_ij - s_ip + margin) / t))"
    source = "additive margin as in CosFace, Wang et al. 2018"
    needs = "both"
    temperature: float = 0.5
    margin: float = 0.2

    def per_anchor(self, scores):
        far, near = scores.reduce(LogSumExp("far"), Mean("near"))
        return {"contrast": softplus(far - near + self.margin / current(self.temperature))}


def by_hand(s: list[list[float]], near: list[list[float]], far: list[list[float]]) -> float:
    values = []
    for row, p, f in zip(s, near, far, strict=True):
        if any(p) and any(f):
            mean = sum(x * w for x, w in zip(row, p, strict=True)) / sum(p)
            values.append(math.log1p(sum(w * math.exp((x - mean + 0.2) / 0.5) for x, w in zip(row, f, strict=True))))
    return sum(values) / len(values)


ALL = ["strategies", "cached", "oracle", "numerical gradient", "order of rows", "half precision", "extreme batches",
       "copies", "memory", "processes"]  # fmt: skip


def test_an_objective_of_a_user_passes():
    assert testing.check(MarginNTXent(), by_hand) == ALL


@pytest.mark.parametrize("objective", [SupCon(average="inside"), SymmetricInfoNCE(), SigLIP(), TripletHard()], ids=str)
def test_objectives_of_the_catalogue_pass(objective: Composition):
    assert testing.check(objective, processes=0) == ALL[:-1]


@entry
class Sided(MarginNTXent):
    """Forgets that statistics come per anchor: the first rows count more."""

    def per_anchor(self, scores):
        (far,) = scores.reduce(LogSumExp("far"))
        return {"contrast": far * torch.linspace(1, 2, len(far), dtype=far.dtype)}


@entry
class Matrix(MarginNTXent):
    """Builds the whole matrix behind the back of the strategies."""

    def per_anchor(self, scores):
        whole = (scores.u @ scores.v.T).exp()
        return {"contrast": whole.sum(1).log()}


@entry
class Deaf(MarginNTXent):
    """Takes what is not a number for nothing."""

    def per_anchor(self, scores):
        (far,) = scores.reduce(Sum("far"))
        return {"contrast": torch.where(far.isnan(), 0, far)}


@pytest.mark.parametrize(
    ("objective", "oracle", "message"),
    [
        (MarginNTXent(margin=0.3), by_hand, "MarginNTXent, oracle: views against the oracle: value is off by"),
        (Sided(), None, "Sided, order of rows: rows in another order: value is off by"),
        (Matrix(), None, r"Matrix, memory: twice the rows keep [34]\.\d times the bytes"),
        (Deaf(), None, "Deaf, extreme batches: a row that is not a number does not show"),
    ],
)
def test_what_is_wrong_is_named(objective: Composition, oracle: testing.Oracle | None, message: str):
    with pytest.raises(AssertionError, match=message):
        testing.check(objective, oracle, processes=0)


def test_a_class_that_no_other_process_can_import_is_named():
    @entry
    class Hidden(MarginNTXent):
        """Local to a function."""

    with pytest.raises(
        AssertionError, match=r"Hidden, processes: another process cannot import the class.*processes=0"
    ):
        testing.check(Hidden(), by_hand)
