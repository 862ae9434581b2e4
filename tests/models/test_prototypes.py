from __future__ import annotations

import torch

from nearfar.models import Prototypes


def test_scores_are_cosines_whatever_the_lengths() -> None:
    torch.manual_seed(0)
    prototypes, rows = Prototypes(3, 5), torch.randn(4, 3)
    with torch.no_grad():
        prototypes.weight.mul_(torch.arange(1, 6)[:, None])
    want = [[float(torch.cosine_similarity(r, p, dim=0)) for p in prototypes.weight.detach()] for r in rows]
    torch.testing.assert_close(prototypes(rows * 7).detach(), torch.tensor(want))


def test_frozen_prototypes_take_no_gradient_and_rows_still_do() -> None:
    prototypes, rows = Prototypes(3, 5), torch.randn(4, 3, requires_grad=True)
    prototypes(rows, frozen=True).square().sum().backward()
    assert prototypes.weight.grad is None and bool(rows.grad.any())
    prototypes(rows).square().sum().backward()
    assert bool(prototypes.weight.grad.any())
