"""Who is near as a graph: any objective from edges that are listed, and the spectral objective of a weighted graph."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import Composition, Dot, PairRelation, Pairs, Relation, Scores, Similarity, Sum, current, entry
from ..contrast.objective import Terms


def from_graph(
    n: int, near: Tensor, weights: Tensor | None = None, far: Tensor | None = None, views: int = 1
) -> Relation:
    """The relation of all rows of some views of n items, stacked view after view, by a graph of the items.

    Edges of `near` (2, E) are pairs of items that are alike, in both directions, with `weights` (E,), all 1 when None.
    Where `far` (2, F) is given, these pairs alone are far and a pair of which nothing is known is ignored; else every
    pair without an edge is far. Views of one item are near with weight 1. An edge that is listed twice, or once in each
    direction, counts once with its larger weight; one from an item to itself says nothing.

    Raises:
        ValueError: an edge leads outside the n items, or a pair is near and far.

    >>> relation = from_graph(3, near=torch.tensor([[0], [1]]), far=torch.tensor([[1], [2]]), views=2)
    >>> relation.counts().near.tolist(), relation.counts().far.tolist()
    ([3, 3, 1, 3, 3, 1], [0, 2, 2, 0, 2, 2])
    """
    alike, weight = _edges(n, near, weights)
    own = torch.arange(views * n, device=near.device)
    rows, columns, values = _in_views(n, views, alike, weight, same=True)
    listed = None
    if far is not None:
        unlike, ones = _edges(n, far, None)
        both = torch.isin(unlike[0] * n + unlike[1], alike[0] * n + alike[1])
        if bool(both.any()):
            pair = unlike[:, both][:, 0].tolist()
            raise ValueError(f"items {pair[0]} and {pair[1]} cannot be near and far; leave out one of the answers")
        listed = Pairs(*_in_views(n, views, unlike, ones, same=False)[:2])
    plain = weights is None
    return PairRelation(
        (views * n, views * n), Pairs(rows, columns, None if plain else values), far=listed, own=own, symmetric=True
    )


def _edges(n: int, edges: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Every edge once in each direction (2, E), with its weight."""
    if edges.ndim != 2 or len(edges) != 2:
        raise ValueError(f"edges are pairs of items (2, E), got {tuple(edges.shape)}")
    outside = edges[(edges < 0) | (edges >= n)]
    if len(outside):
        raise ValueError(f"an edge leads to item {int(outside[0])}, and items are 0 to {n - 1}")
    weights = torch.ones(edges.shape[1], device=edges.device) if weights is None else weights
    both = torch.cat([edges, edges.flip(0)], 1)
    kept = both[0] != both[1]
    number, inverse = torch.unique(both[0, kept] * n + both[1, kept], return_inverse=True)
    largest = weights.new_zeros(len(number)).scatter_reduce(0, inverse, weights.repeat(2)[kept], "amax")
    return torch.stack([number // n, number % n]), largest


def _in_views(n: int, views: int, edges: Tensor, weights: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of rows that the edges between items stand for, and those of views of one item where `same`."""
    offsets = torch.arange(views, device=edges.device) * n
    first, second = (o.reshape(-1, 1) for o in torch.meshgrid(offsets, offsets, indexing="ij"))
    rows, columns = (first + edges[0]).reshape(-1), (second + edges[1]).reshape(-1)
    values = weights.repeat(views * views)
    if not same:
        return rows, columns, values
    item = torch.arange(n, device=edges.device)
    other = (first != second).expand(-1, n)
    rows, columns = (torch.cat([t, (o + item)[other]]) for t, o in ((rows, first), (columns, second)))
    return rows, columns, torch.cat([values, values.new_ones(len(rows) - len(values))])


def ends(rows: Tensor, relation: Relation) -> tuple[Tensor, Tensor]:
    """Both ends (E, D) of every near pair of a relation over rows (R, D), for objectives of two matching views.

    With it VICReg, Barlow Twins and every other objective that compares no pairs learns from a graph: its edges stand
    where the two views of an item stand else. A row counts as often as it has edges; weights are left out.

    Raises:
        ValueError: the near pairs are too many to be listed.

    >>> relation = from_graph(3, near=torch.tensor([[0, 1], [1, 2]]))
    >>> first, second = ends(torch.tensor([[1.0], [2.0], [3.0]]), relation)
    >>> first.squeeze(1).tolist(), second.squeeze(1).tolist()
    ([1.0, 2.0, 2.0, 3.0], [2.0, 1.0, 3.0, 2.0])
    """
    if relation.near is None:
        raise ValueError("the near pairs of this relation are not listed one by one; make it with from_graph")
    return rows[relation.near.rows], rows[relation.near.columns]


@entry
class GraphSpectral(Composition):
    """Products of rows should be the weights of a graph: |Z Z' - G|^2, whose minimiser spans G's top eigenvectors.

    Per row the sum over all others of (product - weight)^2, less the constant weight^2; rows are raw and all of one
    kind. With `diagonal` the product of a row with itself counts too, as it must for the minimiser to be exactly that
    of the eigenvectors: the weight of a row with itself in G.

    Shapes: (R, D) with `relation=from_graph(...)`, ids or labels, or two or more views (N, D), whose graph has an edge
    of weight 1 between views of an item. Unbounded below as weights grow; at chance (products 0) 0 without diagonal.

    Args:
        diagonal: the weight of a row with itself; a row's own product is left out when None.

    >>> z = torch.eye(4)
    >>> float(GraphSpectral(diagonal=1.0)(z, z))                    # Z Z' is G: each row has two products of 1
    -2.0
    """

    formula: ClassVar[str] = (
        "mean_i [ sum_(j != i) s_ij^2 - 2 sum_(p near) w_ip s_ip ]   (diagonal g: + s_ii^2 - 2 g s_ii)"
    )
    source: ClassVar[str] = "Cabannes et al. 2023, Active Self-Supervised Learning, section 2 (PAL)"
    use: ClassVar[str] = (
        "who is near is a weighted graph, in part from answers of people (`relation=from_graph(...)`); raw rows"
    )
    at_chance: ClassVar[str] = "0"
    equal_to: ClassVar[str] = "|Z Z' - G|^2 less |G|^2, over the rows, for a diagonal"
    reconstructed: ClassVar[str] = "the normalisation; derived from the published idea, with its invariants tested"
    needs: ClassVar[str] = "any"

    similarity: Similarity = field(default_factory=Dot)
    diagonal: float | None = None

    def per_anchor(self, scores: Scores) -> Terms:
        """Attraction, linear, and repulsion, quadratic; a row's own product where it counts."""
        near, every = scores.reduce(Sum("near"), Sum("any", of=torch.square))
        terms: Terms = {"attract": -2 * near, "repel": every}
        if self.diagonal is not None:
            own = scores.anchors.square().sum(1) / current(self.temperature)
            terms["own"] = own.square() - 2 * self.diagonal * own
        return terms
