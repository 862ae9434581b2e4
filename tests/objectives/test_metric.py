"""What holds for single objectives of deep metric learning beyond the battery."""

from __future__ import annotations

import json

import pytest
import torch
from cases import rows, tiled
from torch.nn.functional import normalize

from nearfar.contrast import LearnedBias, LogSumExp, NegativeEuclidean, PairRelation, Pairs, Scores, same_key
from nearfar.objectives import BoundaryMargin, LiftedStructure, MultiSimilarity, build

LABELS = torch.tensor([0, 2, 1, 0, 2, -1, 2])


def test_a_boundary_for_each_class_is_that_of_the_anchor():
    z, values = rows(1, 7), [0.7, 1.1, 1.5]
    objective = BoundaryMargin(boundary=LearnedBias(values), nu=0.1).double()
    unit, beta = normalize(z, dim=1).tolist(), objective.boundary().tolist()
    hinges, known = [], [i for i in range(7) if LABELS[i] >= 0]
    for i in known:
        for j in known:
            if i != j:
                d = sum((x - y) ** 2 for x, y in zip(unit[i], unit[j], strict=True)) ** 0.5
                own = beta[int(LABELS[i])]
                hinges.append(max(0.0, d - own + 0.2 if LABELS[i] == LABELS[j] else own - d + 0.2))
    want = sum(hinges) / sum(h > 0 for h in hinges) + 0.1 * sum(beta[int(LABELS[i])] for i in known) / len(known)
    for strategy in ("dense", tiled(3)):
        assert float(objective(z, labels=LABELS, strategy=strategy).detach()) == pytest.approx(want, abs=1e-9)


def test_boundaries_of_classes_learn_and_come_back_from_a_configuration():
    z, objective = rows(1, 7), BoundaryMargin(boundary=LearnedBias([1.25, 1.5, 1.0])).double()
    objective(z, labels=LABELS).backward()
    moved = objective.boundary.bias.grad
    assert bool(moved[0]) and bool(moved[2])
    again = build(json.loads(json.dumps(objective.config())))
    assert again.boundary().tolist() == [1.25, 1.5, 1.0]
    assert "3 classes, 1 to 1.5" in repr(again)


def test_a_class_without_a_boundary_and_rows_without_labels_are_named():
    objective = BoundaryMargin(boundary=LearnedBias([1.2, 1.2]))
    with pytest.raises(ValueError, match="label 2 has no boundary, there are 2"):
        objective(rows(1, 7), labels=LABELS)
    with pytest.raises(ValueError, match="needs labels="):
        pairs = PairRelation((3, 4), Pairs(torch.tensor([0, 1]), torch.tensor([0, 1])))
        objective(rows(1, 3), rows(2, 4), relation=pairs)


def test_for_large_scales_only_the_hardest_pairs_count():
    z, labels = rows(1, 8), torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    s = normalize(z, dim=1) @ normalize(z, dim=1).T
    same = labels[:, None] == labels
    worst = s.masked_fill(~same | torch.eye(8).bool(), torch.inf).amin(1)
    best = s.masked_fill(same, -torch.inf).amax(1)
    want = ((0.5 - worst).relu() + (best - 0.5).relu()).mean()
    got = MultiSimilarity(near_scale=1e5, far_scale=1e5)(z, labels=labels)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_mining_leaves_out_easy_pairs_and_all_pairs_of_an_anchor_that_has_no_hard_one():
    tight = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    assert float(MultiSimilarity(mining=0.1)(tight, labels=labels)) == 0.0
    assert float(MultiSimilarity()(tight, labels=labels)) > 0.1
    assert float(MultiSimilarity(mining=5.0)(tight, labels=labels)) == pytest.approx(
        float(MultiSimilarity()(tight, labels=labels))
    )


def test_far_rows_of_both_ends_count_in_two_sets_of_rows_too():
    """Lifted structure over view 1 against others: the far ones of a candidate are among the anchors."""
    anchors, candidates = rows(1, 3), rows(2, 4)
    a, c = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1, 2])
    d = torch.cdist(normalize(anchors, dim=1), normalize(candidates, dim=1))
    far = a[:, None] != c
    terms = []
    for i, j in (~far).nonzero().tolist():
        both = torch.cat([(1 - d[i])[far[i]], (1 - d[:, j])[far[:, j]]])
        terms.append((both.exp().sum().log() + d[i, j]).relu().square() / 2)
    got = LiftedStructure()(anchors, candidates, relation=same_key(a, c))
    torch.testing.assert_close(got, torch.stack(terms).mean())


def test_scores_from_the_other_side_are_those_of_the_candidates():
    a, c = rows(1, 3), rows(2, 4)
    keys = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1, 2])
    there = Scores(NegativeEuclidean(), a, c, same_key(*keys))
    back = Scores(NegativeEuclidean(), c, a, same_key(*keys[::-1]))
    assert there.counts.far.tolist() == [3, 2, 3]
    torch.testing.assert_close(there.t.reduce(LogSumExp("far"))[0], back.reduce(LogSumExp("far"))[0])
    assert there.t.counts.far.tolist() == [1, 2, 2, 3] and torch.equal(there.t.anchors, c)


@pytest.mark.parametrize("strategy", ["dense", tiled(2)], ids=str)
def test_numbers_of_anchors_reach_a_function_of_rows_with_gradients(strategy):
    a, c, own = rows(1, 5), rows(2, 4), rows(3, 5)[:, 0].requires_grad_()
    scores = Scores(NegativeEuclidean(), a, c, same_key(torch.arange(5), torch.arange(4)), strategy=strategy)
    (got,) = scores.rows(lambda s, near, far, x: ((s * x[:, None]).sum(1),), given=(own,))
    s = -torch.cdist(normalize(a, dim=1), normalize(c, dim=1))
    torch.testing.assert_close(got, s.sum(1) * own)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), own)[0], s.sum(1))
