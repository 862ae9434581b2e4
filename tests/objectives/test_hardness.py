"""Weights of pairs of classes, and a bank."""

from __future__ import annotations

import pytest
import torch
from case import rows
from oracles import cosine

from nearfar.contrast import same_key
from nearfar.objectives import HardestSupCon, SupCon, by_class_pairs


def test_classes_that_mean_almost_the_same_are_pushed_apart_less():
    z, y = rows(0, 6), torch.tensor([0, 0, 1, 1, 2, -1])
    w = torch.tensor([[1.0, 0.3, 0.0], [0.3, 1.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    e = torch.stack([torch.stack([(cosine(u, v) / 0.1).exp() for v in z]) for u in z])
    values = []
    for i, p in ((0, 1), (1, 0), (2, 3), (3, 2)):
        far = sum(w[y[i], y[k]] * e[i, k] for k in range(5) if y[k] != y[i])
        values.append((1 + far / e[i, p]).log())
    relation = by_class_pairs(y, w)
    for strategy in ("dense", "tiled"):
        value = SupCon()(z, relation=relation, strategy=strategy)
        torch.testing.assert_close(value, torch.stack(values).mean())
    even = by_class_pairs(y, torch.ones(3, 3, dtype=torch.float64))
    torch.testing.assert_close(SupCon()(z, relation=even), SupCon()(z, labels=y))
    for labels, weights, message in ((y, w[:2, :2], "a label 2"), (y, w[:2], "square"), (y, -w, "0 or more")):
        with pytest.raises(ValueError, match=message):
            by_class_pairs(labels, weights)


def test_a_bank_speaks_by_its_hardest_rows_alone():
    queries, bank, y, of = rows(0, 4), rows(1, 30), torch.tensor([0, 1, 0, 1]), torch.arange(30) % 3
    loss, relation = HardestSupCon(nearest=2), same_key(y, of)
    z, b = (torch.nn.functional.normalize(r) for r in (queries, bank))
    s, same = z @ b.T / 0.2, y[:, None] == of
    near = torch.where(same, s, torch.inf).sort(1).values[:, :2].logsumexp(1)
    far = torch.where(same, -torch.inf, s).sort(1, descending=True).values[:, :2].logsumexp(1)
    torch.testing.assert_close(loss(queries, bank, relation=relation), (torch.logaddexp(near, far) - near).mean())
