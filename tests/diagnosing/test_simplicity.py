"""Items of three factors, and what probes find of them."""

from __future__ import annotations

import numpy as np
import torch

from nearfar.diagnosing.simplicity import DIAGNOSIS as SIMPLICITY
from nearfar.diagnosing.simplicity import Factors, SimplicityOptions


def test_views_are_the_codes_of_their_factors():
    data = Factors(SimplicityOptions(noise=0.0, values=3, ease=5.0), seed=0)
    cells = data.cells(500)
    x = data.view(cells)
    assert x[:, :2].argmax(1).tolist() == cells[:, 0].tolist()
    assert x[:, 2:6].argmax(1).tolist() == cells[:, 1].tolist()
    assert x[:, 6:].argmax(1).tolist() == cells[:, 2].tolist() and x[:, 6:].amax(1).unique().tolist() == [5.0]
    assert (cells[:, 1] // 2).tolist() == cells[:, 0].tolist()  # a sub-class lies within its class
    counts = np.bincount(4 * cells[:, 2].numpy() + cells[:, 1].numpy())
    assert counts.min() > 500 / 12 / 2  # factors are drawn evenly and independently


def test_other_views_change_the_nuisance_alone():
    data = Factors(SimplicityOptions(values=4), seed=0)
    cells = data.cells(200)
    other = data.other(cells)
    assert torch.equal(other[:, :2], cells[:, :2])
    assert 0.1 < (other[:, 2] == cells[:, 2]).float().mean() < 0.4


def test_an_easy_nuisance_is_kept_in_place_of_the_sub_class():
    found = SIMPLICITY(seeds=2, columns=(2, 8), steps=80, rows=200)
    by_way = {(row["loss"], row["columns"]): row for row in found.table}
    assert by_way["NTXent", 2]["nuisance"].value > 0.9  # type: ignore[union-attr]
    assert by_way["NTXent", 2]["sub-class"].value < 0.6  # type: ignore[union-attr]
    assert by_way["SupCon", 2]["class"].value > 0.9  # type: ignore[union-attr]
    assert found.figures["views"].value > 0.2 and found.figures["width"].value > 0.2
