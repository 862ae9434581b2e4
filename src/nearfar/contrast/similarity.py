"""Similarities: how a row of anchors is scored against a row of candidates.

Every similarity is a *preparation* of the two sides, O(N D) and ordinary autograd code, followed by one matrix product
and an optional elementwise *link*:

    score(i, j) = link(U_i . V_j),        U, V = prepare(anchors, candidates, temperature).

The temperature is folded into the preparation, so it always divides the score and its gradient needs no code of its
own.
A larger score always means nearer: distances enter with a minus sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import threshold


class _Unit(torch.autograd.Function):
    """Rows divided by their norm, with fewer passes over memory than the same in separate steps."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        inverse = norm.clamp_min(1e-12).reciprocal_()
        made = rows * inverse
        # A row of norm 0 is scaled by a constant; it has no direction that the gradient would have to leave out.
        ctx.save_for_backward(made, inverse, norm > 1e-12)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        made, inverse, real = ctx.saved_tensors
        along = torch.linalg.vecdot(made, upstream).unsqueeze(1).mul_(real)
        return torch.addcmul(upstream, made, along, value=-1).mul_(inverse)


def unit(rows: Tensor) -> Tensor:
    """Rows of unit length (N, D), with gradient; rows of norm 0 stay 0.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    made: Tensor = _Unit.apply(rows)
    return made


@dataclass(frozen=True)
class Similarity:
    """Base of all similarities; `formula` says what is computed."""

    formula: ClassVar[str] = ""
    symmetric: ClassVar[bool] = True  # a pair of rows scores the same from both sides
    products: ClassVar[bool] = True  # scores are products of prepared rows, after the link; if not, `block` gives them

    @property
    def equal(self) -> float | None:
        """What two equal rows score; None where it depends on their lengths."""
        return 0.0

    def at(self, temperature: float | Tensor) -> Similarity:
        """The similarity for one temperature: itself, where `prepare` takes that in."""
        return self

    @property
    def unrelated(self) -> float | None:
        """What two unrelated (orthogonal) rows score; None where it depends on their lengths."""
        return 0.0

    @property
    def width(self) -> int | None:
        """The only width of rows that it takes; None for any."""
        return None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows U (R, K) and V (C, K) whose products, after the link, are the scores divided by the temperature."""
        raise NotImplementedError

    @property
    def linear(self) -> bool:
        """True when the score is the product itself, so that sums of scores are products with sums of rows."""
        return True

    def link_(self, products: Tensor) -> Tensor:
        """Turn products into scores, in place."""
        return products

    def link_slope(self, scores: Tensor) -> Tensor:
        """Derivative of the link, written in terms of the scores it gave."""
        return torch.ones_like(scores)

    def block(self, u: Tensor, v: Tensor) -> Tensor:
        """Scores (R, C) of prepared rows where these are no products, with gradient."""
        raise NotImplementedError

    def matched(self, u: Tensor, v: Tensor) -> Tensor:
        """Scores (P,) of prepared rows matched one to one, where these are no products, with gradient."""
        raise NotImplementedError

    def carry(self, slope: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both sides of a block, from that of its scores (R, C), where these are no products."""
        raise NotImplementedError

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """An upper bound on |score| over all pairs of prepared rows."""
        norms = [
            rows.detach().square().sum(1).max() if len(rows) else rows.new_zeros(()) for rows in (anchors, candidates)
        ]
        return float((norms[0] * norms[1]).sqrt())


@dataclass(frozen=True)
class Cosine(Similarity):
    """Cosine of the angle between two rows, in [-1, 1] before the temperature; rows of norm 0 score 0."""

    formula: ClassVar[str] = "s_ij = <z_i, z_j> / (|z_i| |z_j|)"

    @property
    def equal(self) -> float | None:
        """1."""
        return 1.0

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, the anchors divided by the temperature."""
        left = unit(anchors)
        return left / temperature, left if candidates is anchors else unit(candidates)


@dataclass(frozen=True)
class ShiftedCosine(Cosine):
    """Cosine of the angle between two unit rows as seen from a centre, in [-1, 1]; `()` is the origin, as `Cosine`.

    Features of one kind lie close together, and to spread them about the origin would scatter them over the sphere;
    about their own mean they are told apart where they are. The centre is D numbers, or one for all columns; it does
    not learn.

    >>> ShiftedCosine.around(torch.eye(2)).centre                   # the mean of unit rows
    (0.5, 0.5)
    """

    centre: tuple[float, ...] = ()
    formula: ClassVar[str] = "s_ij = cos(z_i / |z_i| - c, z_j / |z_j| - c)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", tuple(float(x) for x in self.centre))

    @classmethod
    def around(cls, rows: Tensor) -> ShiftedCosine:
        """Seen from the mean of the unit rows (N, D), such as the embeddings of all training items before training."""
        return cls(tuple(unit(rows.detach()).mean(0).tolist()))

    @property
    def unrelated(self) -> float | None:
        """Not known, but from the origin."""
        return None if self.centre else 0.0

    @property
    def width(self) -> int | None:
        """That of the centre."""
        return len(self.centre) if len(self.centre) > 1 else None

    def shifted(self, rows: Tensor) -> Tensor:
        """Unit rows less the centre (N, D).

        Raises:
            ValueError: the centre is of another width.
        """
        if not self.centre:
            return unit(rows)
        if self.width not in (None, rows.shape[1]):
            raise ValueError(f"the centre has {len(self.centre)} numbers, the rows have {rows.shape[1]}")
        return unit(rows) - rows.new_tensor(self.centre)

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows of what is seen from the centre."""
        left = self.shifted(anchors)
        return super().prepare(left, left if candidates is anchors else self.shifted(candidates), temperature)

    def __repr__(self) -> str:
        return f"ShiftedCosine({len(self.centre)} numbers)" if self.centre else "ShiftedCosine()"


@dataclass(frozen=True)
class Dot(Similarity):
    """Plain dot product; the rows are used as they are."""

    formula: ClassVar[str] = "s_ij = <z_i, z_j>"

    @property
    def equal(self) -> float | None:
        """None: the square of their length."""
        return None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """The rows themselves, the anchors divided by the temperature."""
        return anchors / temperature, candidates


def _distance_rows(anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose products are -|a - c|^2: the squared norms travel as two more columns, so one product is enough."""
    left = anchors.square().sum(1, keepdim=True)
    right = left if candidates is anchors else candidates.square().sum(1, keepdim=True)
    one_left, one_right = torch.ones_like(left), torch.ones_like(right)
    return torch.cat([2 * anchors, -left, -one_left], 1), torch.cat([candidates, one_right, right], 1)


@dataclass(frozen=True)
class NegativeSquaredEuclidean(Similarity):
    """Minus the squared Euclidean distance; on unit rows (the default) it is 2 cos - 2."""

    normalize: bool = True
    formula: ClassVar[str] = "s_ij = -|z_i - z_j|^2"

    @property
    def unrelated(self) -> float | None:
        """-2 for unit rows."""
        return -2.0 if self.normalize else None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows with their squared norms appended."""
        same = candidates is anchors
        if self.normalize:
            anchors, candidates = unit(anchors), unit(candidates)
        left, right = _distance_rows(anchors, anchors if same else candidates)
        return left / temperature, right


@dataclass(frozen=True)
class NegativeEuclidean(Similarity):
    """Minus the Euclidean distance, or a power of it, on unit rows by default.

    Its gradient at distance 0 is 0, never NaN. A softmax of these scores is that of the kernel exp(-d^power / t).
    """

    normalize: bool = True
    power: float = 1.0
    formula: ClassVar[str] = "s_ij = -|z_i - z_j|^power"

    def __post_init__(self) -> None:
        if not 0 < self.power <= 2:
            raise ValueError(f"the power of a distance is above 0 and at most 2, got {self.power!r}")

    @property
    def unrelated(self) -> float | None:
        """-sqrt(2)^power for unit rows."""
        return -(2.0 ** (self.power / 2)) if self.normalize else None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the squared distance; the temperature enters as the link will undo it, squared for power 1."""
        same = candidates is anchors
        if self.normalize:
            anchors, candidates = unit(anchors), unit(candidates)
        left, right = _distance_rows(anchors, anchors if same else candidates)
        return left / temperature ** (2 / self.power), right

    @property
    def linear(self) -> bool:
        """False: the power is taken after the product."""
        return False

    def link_(self, products: Tensor) -> Tensor:
        """-(-x)^(power / 2); what rounding leaves of a zero distance is taken for zero."""
        tiny = 8 * torch.finfo(products.dtype).eps
        squares = threshold(products.neg_(), tiny, 0, inplace=True)
        return (squares.sqrt_() if self.power == 1 else squares.pow_(self.power / 2)).neg_()

    def link_slope(self, scores: Tensor) -> Tensor:
        """power / 2 (d^2)^(power / 2 - 1), which is 1 / (2 d) for power 1; 0 where d = 0."""
        if self.power == 1:  # -s / (2 s^2), without a mask: those are several times slower than arithmetic
            return scores.square().clamp_(min=torch.finfo(scores.dtype).eps).reciprocal_().mul_(scores).mul_(-0.5)
        distances = torch.where(scores < 0, -scores, torch.inf)
        return self.power / 2 * distances ** (1 - 2 / self.power)

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """The same power of the bound on the products."""
        return super().bound(anchors, candidates) ** (self.power / 2)


@dataclass(frozen=True)
class Constant(Similarity):
    """Every pair scores the same: what an objective says when it cannot tell near from far."""

    value: float = 0.0
    formula: ClassVar[str] = "s_ij = c"

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """One column on each side, whose product is the constant."""
        rate = float(temperature) if not isinstance(temperature, Tensor) else float(temperature.detach())
        left = anchors.new_full((len(anchors), 1), self.value / rate)
        return left, candidates.new_ones((len(candidates), 1))
