"""Oracles of objectives that compare pairs: loops over the scores of anchors and candidates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from oracles import Arranged, Matrix, ScoreMatrix, listed, log_sum, mean, number, once, softplus, transposed
from torch import Tensor

# Softmax objectives ------------------------------------------------------------


def infonce_rows(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor) -> list[Tensor]:
    values = []
    for i in range(len(s)):
        p = listed(near[i])
        if p:
            pull = sum(w * s[i][j] / t for j, w in p) / sum(w for _, w in p)
            values.append(log_sum([(s[i][j] / t, w) for j, w in once(near[i], far[i])]) - pull)
    return values


def infonce(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """-log of the softmax of the near candidate; several near scores are averaged outside the logarithm (L_out)."""
    return mean(infonce_rows(s, near, far, t))


def symmetric_infonce(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """Both directions, over all rows of both sides that have a partner."""
    there = infonce_rows(s, near, far, t)
    return mean(there + infonce_rows(transposed(s), transposed(near), transposed(far), t))


def supcon_inside(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """The logarithm of the mean near probability."""
    values = []
    for i in range(len(s)):
        p = listed(near[i])
        if p:
            every = log_sum([(s[i][j] / t, w) for j, w in once(near[i], far[i])])
            weight = sum(w for _, w in p)
            values.append(-log_sum([(s[i][j] / t - every, w / weight) for j, w in p]))
    return mean(values)


def supcon_exclusive(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """One softmax per near candidate, against the far ones only."""
    values = []
    for i in range(len(s)):
        p, n = listed(near[i]), [(s[i][j] / t, w) for j, w in listed(far[i])]
        if p:
            each = [w * (log_sum([(s[i][j] / t, 1.0), *n]) - s[i][j] / t) for j, w in p]
            values.append(sum(each) / sum(w for _, w in p))
    return mean(values)


def polyview(average: str) -> Callable[..., Tensor]:
    """l_ip against far rows: the mean of its logarithms, the logarithm of its mean, or l of the mean score."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, weight = listed(near[i]), sum(near[i])
            if not p:
                continue
            others = sum((w * (s[i][j] / t).exp() for j, w in listed(far[i])), start=s[i][0] * 0)

            def share(score: Tensor, others: Tensor = others) -> Tensor:
                own = (score / t).exp()
                return own / (own + others)

            if average == "geometric":
                values.append(-sum(w * share(s[i][j]).log() for j, w in p) / weight)
            elif average == "arithmetic":
                values.append(-(sum(w * share(s[i][j]) for j, w in p) / weight).log())
            else:
                values.append(-share(sum(w * s[i][j] for j, w in p) / weight).log())
        return mean(values)

    return value


def npair(l2: float) -> Callable[..., Tensor]:
    """InfoNCE of raw products plus the squared norms of a pair; `rows` are the raw anchors and candidates."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor, rows: Arranged) -> Tensor:
        norms = []
        for i in range(len(s)):
            p = listed(near[i])
            if p:
                each = [w * (rows.anchors[i].square().sum() + rows.candidates[j].square().sum()) for j, w in p]
                norms.append(sum(each) / sum(w for _, w in p))
        return infonce(s, near, far, t, b) + l2 * mean(norms)

    return value


# Corrections -------------------------------------------------------------------


def dcl(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """The near candidate is left out of the denominator."""
    return weighted_dcl(s, near, far, t, lambda pulls: [1.0] * len(pulls))


def dclw(sigma: float, detach: bool) -> Callable[..., Tensor]:
    """Each attraction weighted by 2 - N softmax(s / sigma) over the anchors that count."""

    def weigh(pulls: list[Tensor]) -> list[Tensor]:
        pulls = [p.detach() for p in pulls] if detach else pulls
        total = sum((p / sigma).exp() for p in pulls)
        return [2 - len(pulls) * (p / sigma).exp() / total for p in pulls]

    return lambda s, near, far, t, b: weighted_dcl(s, near, far, t, weigh)


def weighted_dcl(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, weigh: Callable) -> Tensor:
    pulls, pushes = [], []
    for i in range(len(s)):
        p, n = listed(near[i]), listed(far[i])
        if p and n:
            pulls.append(sum(w * s[i][j] for j, w in p) / sum(w for _, w in p))
            pushes.append(log_sum([(s[i][j] / t, w) for j, w in n]))
    return mean([push - w * pull / t for push, pull, w in zip(pushes, pulls, weigh(pulls), strict=True)])


def debiased(tau: float, beta: float | None = None) -> Callable[..., Tensor]:
    """-log(p / (p + Ng)), Ng = max((S - tau M p) / (1 - tau), M exp(-1/t)); `beta` reweights S by hardness."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, n = listed(near[i]), listed(far[i])
            if not (p and n):
                continue
            m, weight = sum(w for _, w in n), sum(w for _, w in p)
            if beta is None:
                total = sum(w * (s[i][j] / t).exp() for j, w in n)
            else:
                hard = sum(w * ((1 + beta) * s[i][j] / t).exp() for j, w in n)
                total = m * hard / sum(w * (beta * s[i][j] / t).exp() for j, w in n)
            p_mean = sum(w * (s[i][j] / t).exp() for j, w in p) / weight
            ng = torch.maximum((total - tau * m * p_mean) / (1 - tau), m * (-1 / t).exp())
            # Several near candidates: their mean score stands for the pair, their mean exponential corrects S.
            pair = (sum(w * s[i][j] / t for j, w in p) / weight).exp()
            values.append(-(pair / (pair + ng)).log())
        return mean(values)

    return value


# Pairs -------------------------------------------------------------------------


def logistic(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    """Mean over anchors of the sum over candidates of -log sigmoid(+-(s / t + b))."""
    values = []
    for i in range(len(s)):
        total = torch.zeros((), dtype=torch.float64)
        for j in range(len(s[i])):
            x = s[i][j] / t + b
            total = total + near[i][j] * softplus(-x) + far[i][j] * softplus(x)
        values.append(total)
    return mean(values)


def margin_violations(margin: float, near_margin: float) -> Callable[..., Tensor]:
    """Mean over near pairs that are too far apart, plus mean over far pairs that are too close."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for kind, weights in (("near", near), ("far", far)):
            parts, count = [], 0.0
            for i in range(len(s)):
                for j, w in listed(weights[i]):
                    d = -s[i][j] / t
                    excess = d - near_margin if kind == "near" else margin - d
                    if number(excess) > 0:
                        parts.append(w * excess)
                        count += w
            total = total + (sum(parts) / count if parts else 0)
        return total

    return value


def margin_pairs(margin: float) -> Callable[..., Tensor]:
    """Hadsell: half of d^2, or of [margin - d]_+^2, averaged over all pairs."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        parts, count = [], 0.0
        for i in range(len(s)):
            for j in range(len(s[i])):
                d = -s[i][j] / t
                gap = margin - d if number(d) < margin else d * 0
                parts.append(near[i][j] * d.square() / 2 + far[i][j] * gap.square() / 2)
                count += near[i][j] + far[i][j]
        return sum(parts) / count if count else mean([])

    return value


# Triplets: weights of a relation only say which pairs take part ----------------


def triplets(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(d_near, d_far) of every triplet."""
    return [(-s[i][p] / t, -s[i][n] / t) for i in range(len(s)) for p, _ in listed(near[i]) for n, _ in listed(far[i])]


def triplet_all(margin: float, average: str) -> Callable[..., Tensor]:
    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        every = [p - n + margin for p, n in triplets(s, near, far, t)]
        violating = [x for x in every if number(x) > 0]
        count = len(violating) if average == "violations" else len(every)
        return sum(violating) / count if violating else mean([])

    return value


def triplet_soft(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
    return mean([softplus(p - n) for p, n in triplets(s, near, far, t)])


def triplet_hard(margin: float | None) -> Callable[..., Tensor]:
    """The farthest near and the nearest far candidate; None: softplus, over all anchors."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, n = [-s[i][j] / t for j, _ in listed(near[i])], [-s[i][j] / t for j, _ in listed(far[i])]
            if p and n:
                gap = max(p, key=number) - min(n, key=number)
                if margin is None:
                    values.append(softplus(gap))
                elif number(gap + margin) > 0:
                    values.append(gap + margin)
        return mean(values)

    return value


def triplet_semihard(margin: float) -> Callable[..., Tensor]:
    """For every near pair the nearest far candidate beyond it, else the farthest one."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            n = [-s[i][j] / t for j, _ in listed(far[i])]
            for j, _ in listed(near[i]):
                if n:
                    d = -s[i][j] / t
                    beyond = [x for x in n if number(x) > number(d)]
                    chosen = min(beyond, key=number) if beyond else max(n, key=number)
                    hinge = d - chosen + margin
                    values.append(hinge if number(hinge) > 0 else hinge * 0)
        return mean(values)

    return value


def spectral(mu: float) -> Callable[..., Tensor]:
    """(-2 mean near + mean far squared) / mu, per anchor that has both."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        values = []
        for i in range(len(s)):
            p, n = listed(near[i]), listed(far[i])
            if p and n:
                pull = sum(w * s[i][j] / t for j, w in p) / sum(w for _, w in p)
                push = sum(w * (s[i][j] / t) ** 2 for j, w in n) / sum(w for _, w in n)
                values.append((-2 * pull + push) / mu)
        return mean(values)

    return value


# Proxies -----------------------------------------------------------------------


def proxy_anchor(margin: float) -> Callable[..., Tensor]:
    """Anchors are the proxies; the pull is averaged over those with a near row, the push over all."""

    def value(s: ScoreMatrix, near: Matrix, far: Matrix, t: Tensor, b: Tensor) -> Tensor:
        pulls, pushes = [], []
        for i in range(len(s)):
            pull = sum((w * ((margin - s[i][j]) / t).exp() for j, w in listed(near[i])), start=s[i][0] * 0)
            push = sum((w * ((margin + s[i][j]) / t).exp() for j, w in listed(far[i])), start=s[i][0] * 0)
            pushes.append((1 + push).log())
            if listed(near[i]):
                pulls.append((1 + pull).log())
        return mean(pulls) + mean(pushes)

    return value
