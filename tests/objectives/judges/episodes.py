"""Few-shot objectives: prototypes, neighbours and kernel votes, in loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from case import Case
from golden import constant, without_ties
from oracles import Matrix, ScoreMatrix, listed, log_sum, mean, number, once
from torch import Tensor

from nearfar.objectives import ICNN, NadarayaWatson, ProtoTriplet


def raw_distance(u: Tensor, v: Tensor) -> Tensor:
    """Minus the distance of rows as they are; the root has no slope at 0."""
    square = (u - v).square().sum()
    return square * 0 if number(square) < 1e-14 else -square.sqrt()


def proto_triplet(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i in range(len(s)):
        p, n = listed(near[i]), listed(far[i])
        if p and n:
            own = sum(-w * s[i][j] for j, w in p) / sum(w for _, w in p)
            other = min((-s[i][j] for j, _ in n), key=number)
            hinge = own - other + 0.5
            values.append(hinge if number(hinge) > 0 else hinge * 0)
    return mean(values)


def icnn(k: int) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        same, other, purity, beyond = [], [], [], []
        for i in range(len(s)):
            p, n = [j for j, _ in listed(near[i])], [j for j, _ in listed(far[i])]
            if not p or not n:
                continue
            closest = sorted(n + [j for j in p if j not in n], key=lambda j, i=i: -number(s[i][j]))[:k]
            limit = min((-s[i][j] for j in n), key=number)
            shares = {j: -s[i][j] / limit if number(limit) > 0 else (s[i][j] != 0) * 1.0 for j in closest}
            top = max([torch.tensor(1.0, dtype=torch.float64), *map(torch.as_tensor, shares.values())], key=number)
            if any(j in p for j in closest):
                same.append(mean([shares[j] / top for j in closest if j in p]))
            if any(j in n for j in closest):
                away = [-s[i][j] for j in closest if j in n]
                other.append(mean(away))
                beyond += away
            both = sum(j in p and j in n for j in closest)
            chosen_near = sum(j in p for j in closest)
            purity.append(chosen_near / (len(closest) + both))
        if not purity:
            return mean([])
        largest = max(beyond, key=number) if beyond else None
        far_term = 1.0 if largest is None else mean(other) / largest if number(largest) > 0 else 0.0
        near_term = 1 - mean(same) if same else 1.0
        score = ((near_term + far_term) / 2 + sum(purity) / len(purity)) / 2
        return -torch.as_tensor(score, dtype=torch.float64).log()

    return value


def kernel_vote(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i in range(len(s)):
        p = listed(near[i])
        if p:
            every = log_sum([(s[i][j] / t, w) for j, w in once(near[i], far[i])])
            values.append(every - log_sum([(s[i][j] / t, w) for j, w in p]))
    return mean(values)


CASES = [
    Case("ProtoTriplet", ProtoTriplet, "cross", proto_triplet, raw_distance),
    Case("ICNN", ICNN, "joint", icnn(4), raw_distance),
    Case("ICNN k 2", lambda: ICNN(k=2), "joint", icnn(2), raw_distance),
    Case("NadarayaWatson", NadarayaWatson, "cross", kernel_vote, raw_distance),
]
GOLDEN = {
    # By the authors' code, algorithms/icnn_loss.py; those of ICNN with a smaller eps.
    "ProtoTriplet": [("items and proxies", 0.547289, 0.306186, 0.169802)],
    "ICNN": [(without_ties, 0.887740, None, None)],
    "ICNN k 2": [(without_ties, 0.892015, None, None)],
    "NadarayaWatson": [("labels", 0.679519, 0.184585, 0.150953)],
}
CHANCE = dict.fromkeys(GOLDEN)
COLLAPSED = {
    "ProtoTriplet": constant(0.5),
    "ICNN": constant(math.log(4)),
    "ICNN k 2": constant(math.log(4)),
    "NadarayaWatson": lambda n, d: math.log(n),
}
