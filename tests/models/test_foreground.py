"""Foreground by the first component against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from nearfar.errors import DataError
from nearfar.models.foreground import Foreground, noise_level


def maps(n: int, seed: int, side: int = 5) -> torch.Tensor:
    """Maps with another pattern in the middle, and noise."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(n, 6, side, side)) * 0.3
    made[:, :3, 1:-1, 1:-1] += 2
    return torch.from_numpy(made)


def test_direction_is_the_first_component_turned_inwards() -> None:
    seen = maps(40, 0)
    cells = seen.permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    axis = PCA(1).fit(cells).components_[0]
    found = Foreground(seen).direction.numpy()
    assert abs(found @ axis) == pytest.approx(1, abs=1e-9)
    assert found[:3].sum() > 0  # the middle, where things are
    assert Foreground(-seen).direction.numpy()[:3].sum() < 0


def test_agreement_is_that_of_plain_loops() -> None:
    foreground = Foreground(maps(40, 0))
    one, other = maps(3, 1), maps(3, 2)
    front, back = foreground.agreement(one, other)
    v = foreground.direction.numpy()
    for row in range(3):
        pooled = []
        for made in (one[row].numpy(), other[row].numpy()):
            score = np.array([[v @ made[:, y, x] for x in range(5)] for y in range(5)])
            mask = (score - score.min()) / (score.max() - score.min())
            for weight in (mask, 1 - mask):
                total = sum(weight[y, x] / weight.sum() * made[:, y, x] for y in range(5) for x in range(5))
                pooled.append(total / np.linalg.norm(total))
        assert float(front[row]) == pytest.approx(pooled[0] @ pooled[2], abs=1e-5)
        assert float(back[row]) == pytest.approx(pooled[1] @ pooled[3], abs=1e-5)


def test_same_thing_before_another_ground_is_worth_more_than_another_thing_before_the_same() -> None:
    foreground = Foreground(maps(40, 0))
    one = maps(1, 1)
    ground, thing = one.clone(), one.clone()
    inside = torch.zeros(5, 5, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    ground[:, 3:, ~inside] += 3
    thing[:, 3:, inside] += 3
    (f1, b1), (f2, b2) = foreground.agreement(one, ground), foreground.agreement(one, thing)
    assert float(f1 - b1) > 0 > float(f2 - b2)


def test_a_map_of_equal_cells_has_no_foreground() -> None:
    assert float(Foreground(maps(40, 0)).mask(torch.ones(1, 6, 5, 5, dtype=torch.double)).max()) == 0


@pytest.mark.parametrize(("given", "said"), [(torch.ones(4, 3, 5, 5), "equal"), (torch.rand(4, 3, 2, 5), "2 x 5")])
def test_maps_without_a_middle_or_a_difference_are_refused(given: torch.Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Foreground(given)


def test_levels_are_those_of_the_bins() -> None:
    bins = np.digitize([0, 0.3, 0.5, 0.61, 0.9], [0, 0.2, 0.4, 0.6, 0.8]) - 1
    assert [noise_level(share) for share in (0, 0.3, 0.5, 0.61, 0.9)] == (100 * bins).tolist()
