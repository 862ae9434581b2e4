"""Learning by a margin, watched: distances by plain loops, and a warning where hard triplets draw all rows together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import tiny_trainer
from torch import nn

from nearfar.methods.triplet import Triplet, TripletOptions
from nearfar.training.margins import by_margin, observe_margin
from nearfar.training.metrics import read_metrics
from nearfar.training.monitors import verdict, verdicts


class Encoder(nn.Sequential):
    width = 16


def small(**options: object) -> Triplet:
    torch.manual_seed(0)
    encoder = Encoder(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16))
    return Triplet(encoder, TripletOptions(projection=8, **options))  # type: ignore[arg-type]


def test_squared_distances_and_two_views_by_plain_loops() -> None:
    views = [torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    labels = torch.tensor([0, 1, 0, -1, 2, 1])
    found = observe_margin(views, labels, 0.7, squared=True)
    rows = np.concatenate([view.numpy() for view in views])
    rows, y = rows / np.linalg.norm(rows, axis=1, keepdims=True), labels.tolist() * 2
    known = [i for i in range(12) if y[i] >= 0]
    d = {(i, j): float(((rows[i] - rows[j]) ** 2).sum()) for i in known for j in known}
    near = {(i, j): v for (i, j), v in d.items() if i != j and y[i] == y[j]}
    far = {(i, j): v for (i, j), v in d.items() if y[i] != y[j]}
    wrong = [far[a, n] < v + 0.7 for (a, _), v in near.items() for n in known if y[n] != y[a]]
    assert found["diameter"] == pytest.approx(max(d.values()), abs=1e-5)
    assert found["near_distance"] == pytest.approx(np.mean(list(near.values())), abs=1e-6)
    assert found["far_distance"] == pytest.approx(np.mean(list(far.values())), abs=1e-6)
    assert found["violating"] == pytest.approx(np.mean(wrong)) and 0 < found["violating"] < 1


def test_nothing_is_told_without_triplets_or_of_rows_that_are_not_finite() -> None:
    assert by_margin(torch.eye(3), torch.tensor([0, 1, 2]), 0.2) == {}
    assert by_margin(torch.eye(3), torch.tensor([0, 0, -1]), 0.2) == {}
    assert observe_margin([torch.full((3, 2), torch.nan)], torch.tensor([0, 0, 1]), 0.2) == {}


def test_which_triplets_have_a_margin_to_watch() -> None:
    assert small(objective="TripletHard", margin=0.5).watched_margin == (0.5, False)
    assert small().watched_margin == (0.2, True)
    assert small(objective="TripletHard", soft=True).watched_margin is None
    assert small(objective="BoundaryMargin").watched_margin is None


def test_the_warning_needs_a_hundred_steps_below_a_tenth_of_the_margin() -> None:
    flat = [{"step": step, "diameter": 0.019, "margin": 0.2, "lr": 0.1} for step in range(10, 120, 10)]
    assert "for 100 steps no two rows have been farther apart than 0.019" in str(verdict(flat))
    assert verdict(flat[1:]) is None
    assert verdict([*flat, {"step": 120, "diameter": 0.021, "margin": 0.2}]) is None


@pytest.mark.parametrize("objective", ["TripletHard", "TripletSemiHard"])
def test_hard_triplets_of_labels_by_chance_collapse_and_semi_hard_ones_do_not(tmp_path: Path, objective: str) -> None:
    # The labels of these rows have nothing to do with what they are.
    method = small(objective=objective, margin=1.0)
    result = tiny_trainer(tmp_path / "run", method, steps=200, lr=0.03, warmup=0.0, log_every=10).run()
    record = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    collapsed = objective == "TripletHard"
    assert ("margin" in result.verdicts) == collapsed == (record["diameter"] < 0.1)
    assert (record["violating"] == 1) == collapsed
    assert ("margin" in verdicts(read_metrics(tmp_path / "run" / "metrics.jsonl"))) == collapsed
