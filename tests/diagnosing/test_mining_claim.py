"""Wrong labels, when a run has collapsed, and hard against semi-hard triplets."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.diagnosing import mining
from nearfar.diagnosing.mining import DIAGNOSIS as MINING
from nearfar.diagnosing.mining import MiningOptions, collapsed_at, mislabelled, one_run


def test_so_many_labels_are_wrong_and_never_the_right_one():
    labels = np.arange(400) % 4
    found = mislabelled(labels, 0.25, 4, np.random.default_rng(0))
    wrong = found != labels
    assert wrong.sum() == 100 and set(found) == {0, 1, 2, 3}
    # Each of the three other classes is as likely.
    assert np.bincount((found - labels)[wrong] % 4, minlength=4) == pytest.approx([0, 33, 33, 33], abs=20)
    assert (mislabelled(labels, 0.0, 4, np.random.default_rng(0)) == labels).all()


def test_a_collapse_must_last():
    below, above = [0.019], [0.021]
    assert collapsed_at(np.array(above * 2 + below * 6), 0.2) == 40.0  # looks are 20 updates apart, from 0
    assert collapsed_at(np.array(above + below * 5 + above + below * 5), 0.2) == np.inf
    assert collapsed_at(np.array(below * 5), 0.2) == np.inf


@pytest.mark.parametrize(
    ("kind", "wrong", "collapses"), [("hard", 0.0, False), ("hard", 0.6, True), ("semi-hard", 0.6, False)]
)
def test_hard_triplets_of_wrong_labels_collapse(kind: str, wrong: float, collapses: bool):
    options = MiningOptions(rows=200, steps=140, width=8, classes=4, groups=4, lr=0.02)
    seen = one_run(options, kind, 1.0, wrong, seed=0)
    assert bool(np.isfinite(seen["collapsed"])) == collapses == (seen["diameters"][-1] < 0.1)
    assert (seen["violating"] == 1) == collapses
    assert len(seen["diameters"]) == 8 and 0 < seen["neighbours"] <= 1


@pytest.mark.parametrize("semi", [np.inf, 60.0])
def test_the_claim_holds_where_hard_triplets_collapse_and_semi_hard_ones_do_not(
    monkeypatch: pytest.MonkeyPatch, semi: float
):
    def told(options: MiningOptions, kind: str, margin: float, share: float, seed: int) -> dict[str, np.ndarray]:
        at = np.inf if not share else 40.0 if kind == "hard" else semi
        return {"diameters": np.full(13, 0.5), "violating": np.array(0.4), "neighbours": np.array(0.7)} | {
            "collapsed": np.array(at if seed else np.inf if kind == "semi-hard" else at)
        }

    monkeypatch.setattr(mining, "one_run", told)
    found = MINING(seeds=2)
    assert found.holds == (semi == np.inf)
    assert [row["collapsed"] for row in found.table[4:6]] == ["2 of 2", "0 of 2" if semi == np.inf else "1 of 2"]
    assert found.figures["hard"].value == 1 and found.figures["hard_clean"].value == 0
    # Of 3 shares, 2 margins and 2 seeds; wrong labels are two of the shares.
    assert found.figures["semi_hard"].value == pytest.approx(0 if semi == np.inf else 1 / 3)
