"""Partners that contradict a biased encoder, by plain loops; mixtures that lean to them; and both on biased data."""

from __future__ import annotations

import pytest
import torch

from nearfar.models.contradicting import contradicting, mixed_with

RNG = torch.Generator().manual_seed(0)
Z, Y = torch.randn(12, 4, generator=RNG), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, -1, 0, 1, 3])


@pytest.mark.parametrize("same", [True, False])
def test_partners_by_loops(same: bool):
    want = []
    for i in range(12):
        fits = [j for j in range(12) if j != i and min(Y[i], Y[j]) >= 0 and bool(Y[i] == Y[j]) == same]
        cosines = {j: float(torch.cosine_similarity(Z[i], Z[j], dim=0)) for j in fits}
        want.append((min if same else max)(cosines, key=cosines.__getitem__) if fits else i)
    assert contradicting(Z, Y, same).tolist() == want
    assert want[8] == 8 and (want[11] == 11) == same  # no label; alone in its class


def test_mixtures_lie_between_and_closer_to_the_partner():
    rows, partners = torch.zeros(500, 2, 3), torch.randint(500, (500,), generator=RNG)
    rows[:] = torch.arange(500.0)[:, None, None]
    mixed = mixed_with(rows, partners, generator=torch.Generator().manual_seed(1))
    apart = rows[:, 0, 0] - partners
    share = ((mixed[:, 0, 0] - partners) / apart)[apart != 0]
    assert float(share.min()) >= -1e-5 and float(share.max()) <= 0.5 + 1e-5
    assert abs(float(share.mean()) - 0.25) < 0.03 and float(share.std()) == pytest.approx(0.5 / 12**0.5, abs=0.02)
    assert torch.equal(mixed[:, 0, 0], mixed[:, 1, 2])  # one share for each row


def test_where_the_encoder_sees_the_bias_alone_every_partner_breaks_it():
    """100 rows whose colour is that of the class but for ten; the encoder tells colours."""
    labels = torch.arange(100) % 5
    colour = torch.where(torch.arange(100) < 10, (labels + 1) % 5, labels)
    biased = torch.eye(5)[colour] + 0.05 * torch.randn(100, 5, generator=RNG)
    assert (colour[contradicting(biased, labels, same=True)] != colour).all()
    others = contradicting(biased, labels, same=False)
    assert (colour[others] == colour).all() and (labels[others] != labels).all()
