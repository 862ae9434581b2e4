"""Graphs of who is near: their relations against dense loops, and objectives that learn from them."""

from __future__ import annotations

import pytest
import torch
from case import rows
from torch import Tensor

from nearfar.contrast import Strategy
from nearfar.objectives import CosineRegression, GraphSpectral, NTXent, VICReg, ends, from_graph, nearest_neighbours

NEAR = torch.tensor([[0, 1, 4, 2, 2, 0], [3, 0, 2, 4, 2, 1]])  # 2-4 in both directions, 0-1 twice, 2 with itself
WEIGHTS = torch.tensor([0.5, 1.0, 0.25, 2.0, 9.0, 0.125], dtype=torch.float64)
FAR = torch.tensor([[0, 4], [2, 3]])


def naive(views: int, weighted: bool, far: bool) -> tuple[Tensor, Tensor]:
    """Near and far weights of all rows, pair by pair."""
    edges: dict[frozenset[int], float] = {}
    for k, (i, j) in enumerate(NEAR.T.tolist()):
        if i != j:
            weight = float(WEIGHTS[k]) if weighted else 1.0
            edges[frozenset((i, j))] = max(weight, edges.get(frozenset((i, j)), 0.0))
    apart = {frozenset(pair) for pair in FAR.T.tolist()}
    n = 5
    near, other = torch.zeros(2, views * n, views * n, dtype=torch.float64)
    for r in range(views * n):
        for c in range(views * n):
            pair = frozenset((r % n, c % n))
            if r == c:
                continue
            near[r, c] = 1.0 if r % n == c % n else edges.get(pair, 0.0)
            other[r, c] = float(near[r, c] == 0 and (not far or pair in apart))
    return near, other


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("far", [False, True])
def test_a_graph_says_who_is_near_in_all_views(views: int, weighted: bool, far: bool):
    relation = from_graph(5, NEAR, WEIGHTS if weighted else None, FAR if far else None, views)
    for over, want in zip(("near", "far"), naive(views, weighted, far), strict=True):
        whole = slice(0, 5 * views)
        assert torch.equal(relation.weights(over, whole, whole).full(want), want)


def test_a_graph_without_edges_is_that_of_the_views():
    a, b = rows(0, 4), rows(1, 4)
    relation = from_graph(4, torch.empty(2, 0, dtype=torch.long), views=2)
    torch.testing.assert_close(NTXent()(torch.cat([a, b]), relation=relation), NTXent()(a, b))


@pytest.mark.parametrize(
    ("near", "far", "message"),
    [
        (torch.tensor([[0], [5]]), None, "an edge leads to item 5, and items are 0 to 4"),
        (torch.tensor([[0], [-1]]), None, "an edge leads to item -1"),
        (torch.tensor([[0, 1, 2]]), None, r"edges are pairs of items \(2, E\), got \(1, 3\)"),
        (torch.tensor([[0], [1]]), torch.tensor([[1], [0]]), "items 0 and 1 cannot be near and far"),
    ],
)
def test_impossible_graphs_are_refused(near: Tensor, far: Tensor | None, message: str):
    with pytest.raises(ValueError, match=message):
        from_graph(5, near, far=far)


# Both ends of edges ------------------------------------------------------------


def test_objectives_of_two_views_learn_from_the_ends_of_edges():
    z = rows(0, 5).requires_grad_()
    first, second = ends(z, from_graph(5, NEAR))
    pairs = [(0, 1), (0, 3), (1, 0), (2, 4), (3, 0), (4, 2)]
    assert torch.equal(first, z[[i for i, _ in pairs]]) and torch.equal(second, z[[j for _, j in pairs]])
    invariance = VICReg(form="paper").inspect(first, second).terms["invariance"]
    want = 25 * sum(float((z[i] - z[j]).square().sum().detach()) for i, j in pairs) / len(pairs)
    assert float(invariance.detach()) == pytest.approx(want)
    (slope,) = torch.autograd.grad(CosineRegression(detach=False)(first, second), z)
    assert slope.any(1).all()


def test_near_pairs_that_are_not_listed_have_no_ends():
    from nearfar.contrast import KeyRelation

    with pytest.raises(ValueError, match="not listed one by one; make it with from_graph"):
        ends(rows(0, 3), KeyRelation(torch.tensor([0, 0, 1])))
    assert len(ends(rows(0, 3), nearest_neighbours(rows(0, 3), 2))[0]) == 6


# The spectral objective --------------------------------------------------------


def graph_matrix(diagonal: float) -> Tensor:
    return naive(1, weighted=True, far=False)[0] + diagonal * torch.eye(5, dtype=torch.float64)


def test_the_value_is_the_distance_of_products_from_the_graph():
    z, g = rows(0, 5), graph_matrix(3.0)
    value = GraphSpectral(diagonal=3.0)(z, relation=from_graph(5, NEAR, WEIGHTS))
    torch.testing.assert_close(5 * value, (z @ z.T - g).square().sum() - g.square().sum())


def test_the_top_eigenvectors_of_the_graph_are_the_minimiser():
    """Eckart and Young: the best rows of width 2 give the two largest eigenvalues, and no gradient is left."""
    diagonal = 3.0
    eigenvalues, vectors = torch.linalg.eigh(graph_matrix(diagonal))
    best = (vectors[:, -2:] * eigenvalues[-2:].sqrt()).requires_grad_()
    loss, relation = GraphSpectral(diagonal=diagonal), from_graph(5, NEAR, WEIGHTS)
    for strategy in (Strategy("dense"), Strategy("tiled", 2)):
        value = loss(best, relation=relation, strategy=strategy)
        assert float(value.detach()) == pytest.approx(-float(eigenvalues[-2:].square().sum()) / 5)
        assert float(torch.autograd.grad(value, best)[0].abs().max()) < 1e-9
    for seed in range(5):
        moved = best.detach() + 0.1 * rows(seed, 5, 2)
        assert loss(moved, relation=relation) > value
