"""Further similarities: angles, lengths along a direction, signal to noise, and the hyperbolic ball."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from .similarity import Similarity, unit


@dataclass(frozen=True)
class _Scaled(Similarity):
    """Base of similarities whose link the temperature cannot pass: it divides the linked score instead."""

    scale: float = field(default=1.0, kw_only=True)

    @property
    def linear(self) -> bool:
        """False: something is done after the product."""
        return False

    def at(self, temperature: float | Tensor) -> Similarity:
        """The same with scores divided by a temperature.

        Raises:
            ValueError: the temperature is learned.
        """
        if isinstance(temperature, Tensor) and temperature.requires_grad:
            raise ValueError(f"{type(self).__name__} takes a fixed temperature only, such as temperature=0.1")
        return replace(self, scale=self.scale / float(temperature))


@dataclass(frozen=True)
class NegativeAngle(_Scaled):
    """Minus the angle between two rows, in radians; its gradient at angles 0 and pi is 0, never infinite."""

    formula: ClassVar[str] = "s_ij = -arccos(<z_i, z_j> / (|z_i| |z_j|))"

    @property
    def unrelated(self) -> float | None:
        """-pi / 2, a right angle."""
        return -math.pi / 2 * self.scale

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows."""
        left = unit(anchors)
        return left, left if candidates is anchors else unit(candidates)

    def link_(self, products: Tensor) -> Tensor:
        """-arccos, and 0 or -pi where rounding leaves the cosine at 1 or -1."""
        near = 1 - 8 * torch.finfo(products.dtype).eps
        products.masked_fill_(products > near, 1).masked_fill_(products < -near, -1)
        return products.acos_().mul_(-self.scale)

    def link_slope(self, scores: Tensor) -> Tensor:
        """1 / sin(angle), and 0 where that is 0."""
        sine = (scores / self.scale).sin().abs()
        flat = sine < 2 * torch.finfo(scores.dtype).eps ** 0.5
        return torch.where(flat, 0, self.scale / torch.where(flat, 1, sine))

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """pi, or 0 of no rows."""
        return math.pi * self.scale if len(anchors) and len(candidates) else 0.0


@dataclass(frozen=True)
class NegativePoincare(_Scaled):
    """Minus the distance of two rows in the Poincare ball, which has room for trees: far from the middle it grows fast.

    Rows belong inside the unit ball; those of length above `radius` are pulled back to it. Gradient 0 at distance 0.
    The nearer to the rim, the more is lost to rounding: at a length of 0.99 distances below 0.03 in float32.
    """

    radius: float = 0.99
    formula: ClassVar[str] = "s_ij = -arcosh(1 + 2 |z_i - z_j|^2 / ((1 - |z_i|^2) (1 - |z_j|^2)))"

    @property
    def unrelated(self) -> float | None:
        """None: it depends on the lengths of the rows."""
        return None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Rows whose product is the fraction."""
        (a, room_a), (c, room_c) = self._inside(anchors), self._inside(candidates)
        square_a, square_c = a.square().sum(1, keepdim=True), c.square().sum(1, keepdim=True)
        u = torch.cat([-4 * a, 2 * square_a, torch.full_like(square_a, 2.0)], 1) / room_a
        return u, torch.cat([c, torch.ones_like(square_c), square_c], 1) / room_c

    def _inside(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        norm = rows.norm(dim=1, keepdim=True)
        rows = torch.where(norm > self.radius, rows * (self.radius / norm.clamp_min(self.radius)), rows)
        return rows, 1 - rows.square().sum(1, keepdim=True)

    def link_(self, products: Tensor) -> Tensor:
        """-arcosh(1 + x); what rounding leaves of a zero distance is taken for zero."""
        x = products.masked_fill_(products < 64 * torch.finfo(products.dtype).eps, 0)
        return x.add_((x * (x + 2)).sqrt_()).log1p_().mul_(-self.scale)

    def link_slope(self, scores: Tensor) -> Tensor:
        """-1 / sinh(distance), and 0 where that is 0."""
        sine = (scores / -self.scale).sinh()
        return torch.where(sine > 0, -self.scale / torch.where(sine > 0, sine, 1), 0)

    def bound(self, anchors: Tensor, candidates: Tensor) -> float:
        """The distance that goes with the bound on the products."""
        return self.scale * math.acosh(1 + super().bound(anchors, candidates))


@dataclass(frozen=True)
class NegativeSNR(Similarity):
    """Minus the variance of the difference of two rows over that of the anchor: noise over signal.

    Variances are over the dimensions of a row; an anchor without any scores -1. Not the same from both sides.
    """

    symmetric: ClassVar[bool] = False
    formula: ClassVar[str] = "s_ij = -var(z_i - z_j) / var(z_i)"

    @property
    def unrelated(self) -> float | None:
        """None: it depends on the variances."""
        return None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Centred rows: |a - c|^2 / |a|^2 = 1 - 2 a c / |a|^2 + |c|^2 / |a|^2."""
        a, c = (rows - rows.mean(1, keepdim=True) for rows in (anchors, candidates))
        square = a.square().sum(1, keepdim=True)
        inverse = torch.where(square > 0, 1 / torch.where(square > 0, square, 1), 0)
        u = torch.cat([2 * a * inverse, -torch.ones_like(inverse), -inverse], 1)
        right = c.square().sum(1, keepdim=True)
        return u / temperature, torch.cat([c, torch.ones_like(right), right], 1)


@dataclass(frozen=True)
class Projection(Similarity):
    """Length of an anchor along the direction of a candidate: anchors as they are, candidates of unit length."""

    symmetric: ClassVar[bool] = False
    formula: ClassVar[str] = "s_ij = <z_i, z_j> / |z_j|"

    @property
    def unrelated(self) -> float | None:
        """None: unrelated rows score 0, but what an objective makes of it depends on the lengths of the anchors."""
        return None

    @property
    def equal(self) -> float | None:
        """None: it depends on the lengths of the anchors."""
        return None

    def prepare(self, anchors: Tensor, candidates: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """The anchors divided by the temperature, and unit candidates."""
        return anchors / temperature, unit(candidates)
