from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nearfar.training.monitors import (
    alignment,
    effective_rank,
    observe,
    score_histogram,
    spread,
    uniformity,
    verdict,
    verdicts,
)

A = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.float64)
B = torch.tensor([[2, 1, 0], [0, 1, 1], [1, 0, 2], [1, 2, 1]], dtype=torch.float64)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_golden_values_of_the_method_cards() -> None:
    assert effective_rank(A) == pytest.approx(2.892219, abs=1e-6)
    assert alignment(A, B) == pytest.approx(0.319007, abs=1e-6)
    assert uniformity(A) == pytest.approx(-2.158455, abs=1e-6)


def test_collapsed_and_healthy_by_closed_form() -> None:
    collapsed, healthy = torch.ones(64, 16), gaussian(4096, 64)
    assert effective_rank(collapsed) == pytest.approx(1, abs=1e-6)
    assert spread(collapsed) == 0 and uniformity(collapsed) == pytest.approx(0, abs=1e-6)
    assert spread(healthy) == pytest.approx(1, abs=0.02)
    assert effective_rank(healthy) > 60
    simplex = F.normalize(torch.eye(4).double() - 0.25, dim=1)
    assert uniformity(simplex) == pytest.approx(-4 * 4 / 3, abs=1e-9)  # n = 3: -4 n / (n - 1) is of n + 1 points, t = 2


def test_observe_against_naive_loops() -> None:
    first, second = gaussian(9, 5), gaussian(9, 5, seed=1)
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0])  # rows 0 and 8 are the same item: not far from each other
    record = observe([first, {"other": first, "projection": second}], ids, histograms=True)
    x, y = F.normalize(first, dim=1).numpy(), F.normalize(second, dim=1).numpy()
    near = [float(x[i] @ y[i]) for i in range(9)]
    far = [float(x[i] @ y[j]) for i in range(9) for j in range(9) if ids[i] != ids[j]]
    assert record["near_mean"] == pytest.approx(np.mean(near), abs=1e-6)
    assert record["far_mean"] == pytest.approx(np.mean(far), abs=1e-6)
    assert record["near_std"] == pytest.approx(np.std(near), abs=1e-6)
    assert record["far_std"] == pytest.approx(np.std(far), abs=1e-6)
    assert record["near_hist"] == np.histogram(near, 40, (-1, 1))[0].tolist()
    assert record["far_hist"] == np.histogram(far, 40, (-1, 1))[0].tolist()
    assert sum(record["far_hist"]) == 9 * 8 - 2
    assert record["std"] == pytest.approx(x.std(0).mean(), abs=1e-6)
    assert record["spread"] == pytest.approx(x.std(0).mean() * math.sqrt(5), abs=1e-6)
    assert record["alignment"] == pytest.approx(np.mean(np.sum((x - y) ** 2, 1)), abs=1e-6)


def test_histogram_keeps_scores_a_rounding_above_one() -> None:
    assert score_histogram(torch.tensor([-1.0000001, 1.0000001, 0.01])) == [1, *[0] * 19, 1, *[0] * 18, 1]


def test_observe_of_odd_projections() -> None:
    ids = torch.arange(4)
    assert "alignment" not in observe([gaussian(4, 3)], ids)
    assert observe([gaussian(4, 3, 2)] * 2, ids) == {}
    assert observe([torch.full((4, 3), float("nan"))] * 2, ids) == {}
    alone = observe([gaussian(4, 3)] * 2, torch.zeros(4))
    assert alone["far_mean"] is None and alone["far_std"] is None and alone["near_std"] < 1e-6
    assert observe([gaussian(2000, 3)] * 2, torch.arange(2000))["near_mean"] == pytest.approx(1)


def history(steps: range, **values: float) -> list[dict]:
    return [{"step": step, **values} for step in steps]


def test_a_healthy_history_has_no_verdict() -> None:
    falling = [
        {"step": s, "loss": 5.54 * 0.99 ** (s // 10 + 2), "chance": 5.54, "effective_rank": 20.0, "spread": 0.9}
        for s in range(10, 600, 10)
    ]
    assert verdict(falling) is None and verdict([]) is None
    assert verdict(history(range(10, 900, 10), loss=1.0)) is None


def test_sitting_at_chance() -> None:
    stuck = history(range(10, 320, 10), loss=5.50, chance=5.54, lr=0.3)
    text = verdict(stuck)
    assert text is not None
    assert text.startswith("the loss has stayed within 1 % of its value at chance (5.54) for 300 steps")
    assert "lower the learning rate (now 0.3)" in text
    assert verdict(stuck[:-1]) is None
    assert verdict([*stuck, {"step": 320, "loss": 5.4, "chance": 5.54}]) is None
    assert verdict(history(range(10, 320, 10), loss=5.45, chance=5.54)) is None


def test_collapse() -> None:
    flat = history(range(10, 70, 10), effective_rank=1.01, spread=0.3, loss=0.1)
    assert "collapsed for 50 steps: effective rank 1.01" in str(verdict(flat))
    assert verdict(flat[:-1]) is None
    narrow = history(range(10, 70, 10), effective_rank=6.0, spread=0.01, loss=0.1)
    assert "spread 0.010" in str(verdict(narrow))
    both = history(range(10, 400, 10), effective_rank=1.0, spread=0.0, loss=5.54, chance=5.54)
    assert set(verdicts(both)) == {"collapse", "chance"}
