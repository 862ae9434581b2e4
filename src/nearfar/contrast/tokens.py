"""Similarities of rows that hold many vectors each, such as the tokens of a text: late interaction.

A row (L * D,) is L tokens of D numbers, one after the other; a token of zeros is none, so that rows of all lengths have
one width. What a row scores against another is no product of both but made of the best matches of their tokens,
L * L products for each pair of rows. They are never held for more than a few pairs at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .similarity import Similarity, unit

HELD = 1 << 22  # products of tokens that are held at a time


def packed(tokens: Tensor, mask: Tensor, length: int | None = None) -> Tensor:
    """Rows (N, L * D) of tokens (N, L, D) and the mask (N, L) of those that are there.

    Args:
        length: tokens of each row, by which rows of several views have one width; more are cut off, fewer filled up.

    >>> packed(torch.ones(2, 3, 1), torch.tensor([[1, 1, 1], [1, 0, 0]]), length=4)
    tensor([[1., 1., 1., 0.],
            [1., 0., 0., 0.]])
    """
    held = torch.where(mask.bool()[:, :, None], tokens, 0)
    if length is not None:
        held = torch.nn.functional.pad(held[:, :length], (0, 0, 0, max(0, length - held.shape[1])))
    return held.flatten(1)


@dataclass(frozen=True)
class TokenSimilarity(Similarity):
    """Base of the similarities by best matches of tokens; tokens are compared by cosine.

    Args:
        token_width: D, numbers for each token.
    """

    token_width: int = 1
    products: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.token_width < 1:
            raise ValueError(f"a token has at least one number, got token_width {self.token_width}")

    @property
    def equal(self) -> float | None:
        """1."""
        return 1.0

    @property
    def width(self) -> int | None:
        """That of a row of one token; rows of more tokens are as many times as wide."""
        return self.token_width

    @property
    def linear(self) -> bool:
        """False: the best match is chosen after the product."""
        return False

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows of unit tokens, those of the anchors divided by the temperature.

        Raises:
            ValueError: the width of the rows is no multiple of that of a token.
        """
        left = self._unit(anchors)
        return left / temperature, left if candidates is anchors else self._unit(candidates)

    def _unit(self, rows: Tensor) -> Tensor:
        if rows.shape[1] % self.token_width:
            raise ValueError(
                f"{type(self).__name__}: rows are tokens of {self.token_width} numbers, but {rows.shape[1]} wide"
            )
        return unit(rows.reshape(-1, self.token_width)).view_as(rows)

    def of_products(self, products: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """Scores (...) from products (..., L, M) of tokens, of which some are here (..., L) and there (..., M)."""
        raise NotImplementedError

    def block(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Similarity.block`."""
        y = self._tokens(v)
        parts = [u[:0] @ u.new_zeros(u.shape[1], len(v))]
        for x in u.split(self._height(u, v)):
            x = self._tokens(x)
            products = torch.einsum("rld,cmd->rclm", x, y)
            parts.append(self.of_products(products, _present(x)[:, None], _present(y)[None]))
        return torch.cat(parts)

    def matched(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Similarity.matched`."""
        x, y = self._tokens(u), self._tokens(v)
        return self.of_products(x @ y.transpose(1, 2), _present(x), _present(y))

    def carry(self, slope: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """See `Similarity.carry`: the matches are found again, for a few anchors at a time."""
        height, du, dv = self._height(u, v), torch.zeros_like(u), torch.zeros_like(v)
        for start in range(0, len(u), height):
            rows = slice(start, start + height)
            with torch.enable_grad():
                x, y = u[rows].detach().requires_grad_(), v.detach().requires_grad_()
                found = self.block(x, y)
            of_x, of_y = torch.autograd.grad(found, (x, y), slope[rows])
            du[rows] = of_x
            dv += of_y
        return du, dv

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """The longest tokens bound their products, and with them the best ones."""
        longest = [
            self._tokens(rows.detach()).square().sum(2).max() if len(rows) else rows.new_zeros(())
            for rows in (anchors, candidates)
        ]
        return float((longest[0] * longest[1]).sqrt())

    def _tokens(self, rows: Tensor) -> Tensor:
        return rows.view(len(rows), rows.shape[1] // self.token_width, self.token_width)

    def _height(self, u: Tensor, v: Tensor) -> int:
        """Anchors that are visited at a time."""
        tokens = (u.shape[1] // self.token_width) * (v.shape[1] // self.token_width)
        return max(1, HELD // max(1, tokens * len(v)))


@dataclass(frozen=True)
class MaxSim(TokenSimilarity):
    """Each token of the anchor finds its best match among the candidate's tokens: the mean, or sum, of their cosines.

    In [-1, 1] before the temperature; a sum (ColBERT) in [-L, L]. Not the same from both sides.

    Args:
        token_width: D, numbers for each token.
        average: the mean over the anchor's tokens, in place of their sum.

    Source: Khattab & Zaharia 2020 (ColBERT), eq. 3.

    >>> x, y = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # {e1, e2} and {e1}
    >>> loss = MaxSim(token_width=2)
    >>> float(loss.block(*loss.prepare(x, y, 1.0))), float(loss.block(*loss.prepare(y, x, 1.0)))
    (0.5, 1.0)
    """

    average: bool = True
    formula: ClassVar[str] = "s_ij = mean_k max_l cos(x_ik, y_jl)"
    symmetric: ClassVar[bool] = False

    @property
    def equal(self) -> float | None:
        """1 for means."""
        return 1.0 if self.average else None

    def of_products(self, products: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """See `TokenSimilarity.of_products`."""
        return _best(products, here, there, self.average)

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """See `TokenSimilarity.bound`; a sum is as many times as large."""
        return super().bound(anchors, candidates) * (1 if self.average else anchors.shape[1] // self.token_width)


@dataclass(frozen=True)
class MutualMaxSim(TokenSimilarity):
    """Tokens of both rows find their best matches in the other: the mean of both means, a relaxed transport.

    In [-1, 1] before the temperature, the same from both sides; rows of one token each score their cosine.

    Args:
        token_width: D, numbers for each token.

    Source: Lee et al. 2022 (CLRCMD, relaxed contextualized token mover's distance); sh0416/clrcmd src/clrcmd/models.py.

    >>> x, y = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # {e1, e2} and {e1}
    >>> loss = MutualMaxSim(token_width=2)
    >>> float(loss.block(*loss.prepare(x, y, 1.0)))
    0.75
    """

    formula: ClassVar[str] = "s_ij = [ mean_k max_l cos(x_ik, y_jl) + mean_l max_k cos(x_ik, y_jl) ] / 2"

    def of_products(self, products: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """See `TokenSimilarity.of_products`."""
        back = _best(products.transpose(-1, -2), there, here, True)
        return (_best(products, here, there, True) + back) / 2


def _present(tokens: Tensor) -> Tensor:
    """Which tokens (..., L, D) are there."""
    return (tokens.detach() != 0).any(-1)


def _best(products: Tensor, here: Tensor, there: Tensor, average: bool) -> Tensor:
    """Best matches of all that is here among what is there, added up or averaged; 0 where either side has nothing."""
    best = products.masked_fill(~there.unsqueeze(-2), -torch.inf).amax(-1)
    found = torch.where(here & (best > -torch.inf) | best.isnan(), best, 0).sum(-1)
    return found / here.sum(-1).clamp_min(1) if average else found
