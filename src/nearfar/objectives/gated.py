"""Any two classes may be near, if they are compared in a subspace of their own: learned gates for pairs of classes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..contrast import Strategy, entry, same_key
from ..contrast.arrange import check_views
from ..contrast.objective import Inspection, Objective
from .softmax import SupCon


def drawn_partners(labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """For the items (N,) of each class one class of the batch, drawn at random, with which they are to be near.

    >>> y = torch.tensor([3, 3, 7, 9])
    >>> partners = drawn_partners(y, torch.Generator().manual_seed(0))
    >>> bool(partners[0] == partners[1]), set(partners.tolist()) <= {3, 7, 9}
    (True, True)
    """
    present, place = labels.unique(return_inverse=True)
    if not len(present):
        return labels
    drawn = torch.randint(len(present), (len(present),), generator=generator, device=labels.device)
    return present[drawn][place]


@entry
class GatedPairs(Objective):
    """Rows of one class should find those of another, any other, in a subspace that is learned for the two classes.

    The gate of classes a and b, sigmoid(e_ab + e_ba) in (0, 1) for each dimension, multiplies all rows before they are
    compared. For an anchor of class a with partner class b, rows of b are near and rows of third classes far, each near
    row in a softmax against the far ones alone; other rows of a do not count unless a = b. Dimensions that the two
    classes share are thus told from those in which they differ. Gates start alike in all dimensions, where the value is
    that of plain cosines.

    Shapes: two or more views (N, D) with labels (N,) from 0 to classes - 1, and partners (N,), a class each; labels
    themselves when None (`drawn_partners` draws some). Value >= 0. Cost: the scores of each anchor with all rows, one
    sweep for each pair of classes in the batch; classes^2 x width numbers to learn.

    Args:
        classes: how many there are. width: D, the dimensions that are gated.
        temperature: divides every score.

    >>> z, y = torch.eye(4), torch.arange(4)
    >>> loss = GatedPairs(classes=4, width=4, temperature=0.5)
    >>> round(float(loss(z, z, labels=y)), 6)                                  # log(1 + 6 e^-2)
    0.594438
    """

    formula: ClassVar[str] = (
        "mean_i mean_(p near) log(1 + sum_(j far) exp((s_ij - s_ip) / t)),  s_ij = cos(g * z_i, g * z_j), "
        "g = sigmoid(e_ab + e_ba)"
    )
    source: ClassVar[str] = "Wu et al. 2024, Rethinking Positive Pairs in Contrastive Learning (SimLAP, Hydra)"
    use: ClassVar[str] = "labels whose classes share some factors and differ in others, which should get dimensions"
    compares: ClassVar[str] = "cosine of gated rows"
    near: ClassVar[str] = "rows of the class that the anchor is paired with"
    far: ClassVar[str] = "rows of third classes"
    at_chance: ClassVar[str] = ""
    equal_to: ClassVar[str] = "SupCon(average='exclusive') for constant gates and classes paired with themselves"
    reconstructed: ClassVar[str] = "gate, pairs and denominator are written from the abstract"
    cost: ClassVar[str] = "scores of all pairs of rows in tiles, a sweep for each pair of classes in the batch"
    supervised: ClassVar[bool] = True

    classes: int = 10
    width: int = 128
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.classes < 1 or self.width < 1 or self.temperature <= 0:
            raise ValueError(
                f"classes and width are at least 1 and the temperature above 0, got {self.classes}, {self.width} and "
                f"{self.temperature}"
            )
        self.gates = nn.Parameter(torch.zeros(self.classes, self.classes, self.width))

    def gate(self, one: int, other: int) -> Tensor:
        """How much each dimension counts between two classes, (D,) in (0, 1); the same from both sides."""
        return (self.gates[one, other] + self.gates[other, one]).sigmoid()

    def forward(
        self,
        *views: Tensor,
        labels: Tensor,
        partners: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Tensor:
        """The scalar value.

        Raises:
            ValueError: fewer than two views, rows that do not match, or a class that has no gate.
        """
        rows = check_views("GatedPairs", views)
        n = len(labels)
        if len(rows) < 2 or any(len(view) != n for view in rows) or rows[0].shape[1] != self.width:
            raise ValueError(
                f"GatedPairs needs two or more views of the same {n} rows, {self.width} wide, got "
                f"{[tuple(view.shape) for view in rows]}"
            )
        partners = labels if partners is None else partners
        z = torch.cat([self.together(view, strategy) for view in rows])
        facts = self.together(torch.stack([labels, partners.to(labels.device)], 1), strategy).repeat(len(rows), 1)
        if len(facts) and not (facts.min() >= 0 and facts.max() < self.classes):
            raise ValueError(f"classes run from 0 to {self.classes - 1}, got {int(facts.min())} to {int(facts.max())}")
        with torch.autocast(z.device.type, enabled=False):
            return self._over_pairs(z, facts, self.chosen(strategy))

    def _over_pairs(self, z: Tensor, facts: Tensor, chosen: Strategy) -> Tensor:
        """The mean over all anchors that have a near row, one pair of classes after the other."""
        plain = "auto" if chosen.spread else chosen  # the rows of all processes are here by now
        inner = SupCon(temperature=self.temperature, average="exclusive", strategy=plain)
        total, count = z[:0].sum() + self.gates[:0].sum(), 0
        for own, partner in torch.unique(facts, dim=0).tolist():
            anchors = (facts == facts.new_tensor([own, partner])).all(1).nonzero().squeeze(1)
            seen = facts[:, 0] if own == partner else facts[:, 0].where(facts[:, 0] != own, -1)
            relation = same_key(torch.full_like(anchors, partner), seen, anchors)
            gated = z * self.gate(own, partner).to(z.dtype)
            met = int((relation.counts().near > 0).sum())
            if met:
                total, count = total + met * inner(gated[anchors], gated, relation=relation), count + met
        return total / max(1, count)

    def inspect(self, *views: Tensor, **how: Any) -> Inspection:
        """The value; there is none at chance, since who is near is said anew for each batch."""
        total = self(*views, **how)
        return Inspection(total=total, terms={"contrast": total})
