"""Pairs that a teacher adds or drops, and weights of quality."""

from __future__ import annotations

import math

import pytest
import torch
from cases import rows
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.objectives import InfoNCE, NTXent, by_teacher, quality_weights

N = 20
IDS = torch.arange(N).repeat(2)


def teacher_rows(seed: int = 3) -> Tensor:
    item = rows(seed, N, 6)
    return torch.cat([item + 0.3 * rows(seed + 1, N, 6), item + 0.3 * rows(seed + 2, N, 6)]).float()


def by_hand(z: Tensor, teacher: Tensor, near: Tensor, kept: Tensor) -> float:
    """NT-Xent row by row: near rows averaged outside the logarithm, a denominator of near rows and kept ones."""
    s = (normalize(z, dim=1) @ normalize(z, dim=1).T / 0.5).tolist()
    values = []
    for i in range(2 * N):
        p = [j for j in range(2 * N) if near[i, j]]
        bottom = sum(math.exp(s[i][j]) for j in range(2 * N) if near[i, j] or kept[i, j])
        if p:
            values.append(sum(math.log(bottom) - s[i][j] for j in p) / len(p))
    return sum(values) / len(values)


def setting() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    z, teacher = rows(9, 2 * N, 4), teacher_rows()
    similarity = normalize(teacher, dim=1) @ normalize(teacher, dim=1).T
    itself = torch.eye(2 * N).bool()
    near = (IDS[:, None] == IDS) & ~itself
    return z, teacher, similarity, near, ~near & ~itself


@pytest.mark.parametrize("strategy", ["dense", "tiled"])
def test_a_teacher_that_says_nothing_leaves_ntxent(strategy: str):
    z, teacher, _, _, _ = setting()
    got = NTXent(temperature=0.5)(z, relation=by_teacher(teacher, IDS), strategy=strategy)
    torch.testing.assert_close(got, NTXent(temperature=0.5)(z, ids=IDS))


def test_the_row_that_is_most_alike_becomes_near():
    z, teacher, similarity, near, far = setting()
    for i in range(2 * N):
        best = max((j for j in range(2 * N) if far[i, j]), key=lambda j: float(similarity[i, j]))
        near[i, best] = True
    want = by_hand(z, teacher, near, far)
    relation = by_teacher(teacher, IDS, add_near=True)
    assert float(NTXent(temperature=0.5)(z, relation=relation)) == pytest.approx(want)
    assert relation.counts().near.tolist() == [2] * (2 * N)


def test_the_loss_of_an_added_row_is_averaged_with_that_of_the_own_one():
    """(L_own + L_extra) / 2 over one softmax, as published."""
    z, teacher, similarity, near, far = setting()
    s = (normalize(z, dim=1) @ normalize(z, dim=1).T / 0.5).fill_diagonal_(-torch.inf)
    extra = similarity.masked_fill(~far, -2).argmax(1)
    losses = [torch.nn.functional.cross_entropy(s, target) for target in (near.float().argmax(1), extra)]
    got = NTXent(temperature=0.5)(z, relation=by_teacher(teacher, IDS, add_near=True))
    torch.testing.assert_close(got, (losses[0] + losses[1]) / 2)


@pytest.mark.parametrize(("drop", "largest"), [("drop_alike", True), ("drop_easy", False)])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_far_rows_that_are_most_or_least_alike_are_dropped(drop: str, largest: bool, share: float):
    z, teacher, similarity, near, far = setting()
    for i in range(2 * N):
        ranked = sorted(range(2 * N), key=lambda j: float(similarity[i, j]), reverse=largest)
        far[i, ranked[: int(2 * N * share)]] = False
    relation = by_teacher(teacher, IDS, **{drop: share})
    assert relation.counts().far.tolist() == far.sum(1).tolist()
    assert float(NTXent(temperature=0.5)(z, relation=relation)) == pytest.approx(by_hand(z, teacher, near, far))


def test_near_pairs_that_are_least_alike_do_not_count():
    z, teacher, similarity, near, far = setting()
    values = sorted(float(similarity[i, j]) for i in range(2 * N) for j in range(2 * N) if near[i, j])
    near &= similarity > values[int(2 * N * 0.1) - 1] + 1e-6
    relation = by_teacher(teacher, IDS, drop_near=0.1)
    assert int(relation.counts().near.sum()) == 2 * N - 4
    assert float(NTXent(temperature=0.5)(z, relation=relation)) == pytest.approx(by_hand(z, teacher, near, far))


def test_near_pairs_that_are_all_as_alike_are_kept():
    # One vector for each item, as a file of vectors by row has them: the teacher cannot tell the views of an item.
    relation = by_teacher(rows(3, N, 6).float().repeat(2, 1), IDS, drop_near=0.1)
    assert relation.counts().near.tolist() == [1] * (2 * N)


def test_a_teacher_that_knows_the_classes_adds_a_row_of_the_class_wherever_there_is_one():
    classes = torch.tensor([0, 0, 1, 1, 1, 2])
    relation = by_teacher(torch.eye(3)[classes].repeat(2, 1), torch.arange(6).repeat(2), add_near=True)
    y = classes.repeat(2)
    near, _ = relation.weight(torch.arange(12), torch.arange(12))
    for i in range(12):
        added = [j for j in range(12) if near[i, j] and j % 6 != i % 6]
        assert len(added) == 1 and (y[added[0]] == y[i]) == (y[i] != 2)


def test_panels_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    z, teacher, _, _, _ = setting()
    how = {"add_near": True, "drop_near": 0.1, "drop_alike": 0.05, "drop_easy": 0.1}
    whole = NTXent()(z, relation=by_teacher(teacher, IDS, **how))
    monkeypatch.setattr("nearfar.objectives.teacher.PANEL", 7)
    torch.testing.assert_close(NTXent()(z, relation=by_teacher(teacher, IDS, **how), strategy="tiled"), whole)


def test_impossible_shares_and_other_ids_are_refused():
    with pytest.raises(ValueError, match=r"shares to drop lie in \[0, 1\), got 0.0, 1.0 and 0.0"):
        by_teacher(teacher_rows(), IDS, drop_alike=1.0)
    with pytest.raises(ValueError, match=r"ids must be one per row, got \(20,\) for 40 rows"):
        by_teacher(teacher_rows(), IDS[:N])


def test_pairs_of_good_quality_count_more():
    f, b = torch.tensor([0.9, 0.5, 0.7, 0.1]), torch.tensor([0.2, 0.4, 0.7, 0.6])
    weights = quality_weights(f, b)
    assert weights.tolist() == pytest.approx([1.704600, 0.935504, 0.846479, 0.513416], abs=1e-6)
    assert quality_weights(f, b, gamma=0.0).tolist() == [1, 1, 1, 1]
    views = [rows(k, 4) for k in range(2)]
    each = InfoNCE().inspect(*views).per_anchor
    torch.testing.assert_close(InfoNCE()(*views, weights=weights), (weights * each).mean())
    assert not quality_weights(f.requires_grad_(), b).requires_grad
