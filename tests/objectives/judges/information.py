"""Bounds on mutual information: loops over near and far pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

from case import Case
from golden import constant, softplus
from oracles import Matrix, ScoreMatrix, dot, listed, log_sum, mean
from oracles import softplus as softplus_of
from torch import Tensor

from nearfar.objectives import NWJ, DonskerVaradhan, JensenShannon


def pairs_of(near: Matrix, far: Matrix) -> list[tuple[int, list[tuple[int, float]], list[tuple[int, float]]]]:
    """Anchors that have both kinds of candidates, with them."""
    every = [(i, listed(near[i]), listed(far[i])) for i in range(len(near))]
    return [(i, p, n) for i, p, n in every if p and n]


def share(pairs: list[tuple[int, float]], value: Callable[[int], Tensor]) -> Tensor:
    return sum(w * value(j) for j, w in pairs) / sum(w for _, w in pairs)


def nwj(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i, p, n in pairs_of(near, far):
        joint = share(p, lambda j, i=i: s[i][j] / t)
        values.append((share(n, lambda j, i=i: (s[i][j] / t).exp()) / math.e) - joint)
    return mean(values)


def donsker_varadhan(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    joint, apart = [], []
    for i, p, n in pairs_of(near, far):
        joint.append(share(p, lambda j, i=i: s[i][j] / t))
        apart += [(s[i][j] / t, w) for j, w in n]
    if not joint:
        return mean([])
    return log_sum(apart) - math.log(sum(w for _, w in apart)) - mean(joint)


def jensen_shannon(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    values = []
    for i, p, n in pairs_of(near, far):
        joint = share(p, lambda j, i=i: softplus_of(-s[i][j] / t))
        values.append(joint + share(n, lambda j, i=i: softplus_of(s[i][j] / t)))
    return mean(values)


CASES = [
    Case("NWJ", NWJ, "cross", nwj, dot),
    Case("DonskerVaradhan", DonskerVaradhan, "cross", donsker_varadhan, dot),
    Case("JensenShannon", JensenShannon, "cross", jensen_shannon, dot),
]

# The products A B': near ones 2, 1, 2, 3; of the far ones three are 0, seven 1, one 2 and one 3.
FAR = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3]
EXPONENTIALS = sum(map(math.exp, FAR)) / 12
LOGISTIC = sum(softplus(-f) for f in (2, 1, 2, 3)) / 4 + sum(map(softplus, FAR)) / 12
GOLDEN = {
    "NWJ": [("views", EXPONENTIALS / math.e - 2, None, None)],
    "DonskerVaradhan": [("views", math.log(EXPONENTIALS) - 2, None, None)],
    "JensenShannon": [("views", LOGISTIC, None, None)],
}
CHANCE = {
    "NWJ": constant(1 / math.e),
    "DonskerVaradhan": constant(0.0),
    "JensenShannon": constant(2 * math.log(2)),
}
COLLAPSED = dict.fromkeys(CHANCE)
