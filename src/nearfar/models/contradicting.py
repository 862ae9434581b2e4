"""Items that contradict what a biased encoder believes, and mixtures that teach what it overlooks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.no_grad()
def contradicting(biased: Tensor, labels: Tensor, same: bool) -> Tensor:
    """For each row the row of its batch that contradicts the bias most: a partner (N,), itself where there is none.

    An encoder that has learned the easy, spurious feature (a colour that goes with the class) puts rows of one colour
    together. With `same` the partner is the row of the same label that is least like it: of another colour. Else it is
    the row of another label that is most like it: of the same colour. Rows with label -1 have no partner and are none.
    Source: Hwang et al. 2022, SelecMix: Debiased Learning by Contradicting-pair Sampling, section 3.2;
    bluemoon010/SelecMix, module/loss.py.

    Args:
        biased: (N, D) of the biased encoder. labels: (N,).

    >>> z, y = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.2]]), torch.tensor([0, 0, 0, 1])
    >>> contradicting(z, y, same=True).tolist(), contradicting(z, y, same=False).tolist()
    ([2, 2, 0, 3], [3, 3, 3, 1])
    """
    unit = normalize(biased, dim=1)
    alike, known = unit @ unit.T, labels >= 0
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    fits = ((labels[:, None] == labels[None, :]) == same) & known[:, None] & known[None, :] & ~own
    scores = (-alike if same else alike).masked_fill(~fits, -torch.inf)
    return torch.where(fits.any(1), scores.argmax(1), torch.arange(len(labels), device=labels.device))


def mixed_with(rows: Tensor, partners: Tensor, most: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Rows (N, ...) mixed with their partners, a x + (1 - a) x_partner with a in U(0, most).

    Of at most half of a row little is left but what its partner lacks: the label is the partner's. Source: Hwang et al.
    2022, section 3.2.

    >>> mixed_with(torch.zeros(2, 3), torch.tensor([1, 0])).shape
    torch.Size([2, 3])
    """
    shape = len(rows), *[1] * (rows.ndim - 1)
    a = most * torch.rand(shape, generator=generator, dtype=rows.dtype).to(rows.device)
    return a * rows + (1 - a) * rows[partners]
