"""What two kin have together to do with all others, against a loop, with uneven families and tiles of any size."""

from __future__ import annotations

import math

import pytest
import torch

from nearfar.contrast import Cosine, KeyRelation, Scores, same_key
from nearfar.contrast.kin import joint_sums

KEYS = [4, 4, 4, 7, 9, 9, 11, 11, 11, 11]


def rows() -> torch.Tensor:
    return torch.randn(len(KEYS), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive(s: list[list[float]], keys: list[int], a: int, p: int, rate: float) -> float:
    return sum(math.exp(rate * (s[a][j] + s[p][j])) for j in range(len(keys)) if keys[j] != keys[a])


@pytest.mark.parametrize("tile", [1, 4, 5, 64])
def test_sums_are_those_of_a_loop(tile: int):
    z, keys = rows(), torch.tensor(KEYS)
    s, got = (z @ z.T).tolist(), joint_sums(z, z, keys, tile)
    assert got.shape == (3, len(KEYS))
    for a in range(len(KEYS)):
        for p in range(a + 1, len(KEYS)):
            if KEYS[a] == KEYS[p]:
                assert float(got[p - a - 1, a]) == pytest.approx(naive(s, KEYS, a, p, 1.0))


@pytest.mark.parametrize("tile", [1, 5, 64])
def test_gradients_are_numerical_ones(tile: int):
    u, keys = rows().requires_grad_(), torch.tensor(KEYS)
    weigh = torch.arange(30, dtype=torch.float64).view(3, 10)

    def value(u: torch.Tensor) -> torch.Tensor:
        return (joint_sums(2 * u, u, keys, tile) * weigh).sum().log()

    assert torch.autograd.gradcheck(value, (u,))


def test_scores_find_kin_wherever_they_stand():
    order = torch.tensor([3, 7, 0, 9, 5, 1, 8, 2, 6, 4])
    keys, z = torch.tensor(KEYS)[order], rows()[order]
    found = Scores(Cosine(), z, z, same_key(keys), strategy="tiled").near_joint(1.5)
    assert found is not None
    near, values, joint = found
    unit = torch.nn.functional.normalize(z, dim=1)
    s = (unit @ unit.T).tolist()
    for a, p, value, log in zip(near.rows.tolist(), near.columns.tolist(), values, joint, strict=True):
        assert float(value) == pytest.approx(s[a][p])
        assert float(log) == pytest.approx(math.log(naive(s, keys.tolist(), a, p, 1.5)))


def test_pairs_are_left_to_others_where_kin_do_not_say_it_all():
    z, keys = rows(), torch.tensor(KEYS)
    by_key = same_key(keys)
    assert Scores(Cosine(), z, z, by_key, strategy="dense").near_joint(1.0) is None
    assert Scores(Cosine(), z, z, KeyRelation(keys), strategy="tiled").near_joint(1.0) is None  # not listed
    assert Scores(Cosine(), z, z, by_key, 0.01, "tiled").near_joint(1.0) is None  # e^200 is too much
    assert Scores(Cosine(), z, z, same_key(keys * 0 + 1), strategy="tiled").near_joint(1.0) is None  # nobody is far
