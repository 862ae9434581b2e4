"""Every objective once more, as plain loops over pairs, written from the published formulas.

Nothing of nearfar is imported here. Values are torch scalars, so that autograd gives the gradients of an oracle too.
An oracle of a composition takes

    s      s[i][j], the score of anchor i and candidate j before the temperature,
    near   near[i][j] and far[i][j], weights as floats; both 0: the pair does not count,
    t, b   temperature and bias, torch scalars,

and returns a scalar. An oracle of two plain views takes the two matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Matrix = list[list[float]]
ScoreMatrix = list[list[Tensor]]


def number(x: Tensor) -> float:
    return float(x.detach())


# How two rows are scored -------------------------------------------------------


def unit(row: Tensor) -> Tensor:
    return row / row.square().sum().sqrt().clamp_min(1e-12)


def cosine(u: Tensor, v: Tensor) -> Tensor:
    return (unit(u) * unit(v)).sum()


def dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum()


def minus_square(u: Tensor, v: Tensor) -> Tensor:
    return -(unit(u) - unit(v)).square().sum()


def minus_distance(u: Tensor, v: Tensor) -> Tensor:
    square = (unit(u) - unit(v)).square().sum()
    # The root has no slope at 0; both sides agree to take 0 there.
    return square * 0 if number(square) < 1e-14 else -square.sqrt()


def shortened_dot(mu: float) -> Callable[[Tensor, Tensor], Tensor]:
    def shorten(row: Tensor) -> Tensor:
        norm = row.square().sum().sqrt()
        return row * (mu**0.5 / norm) if number(norm) >= mu**0.5 else row

    return lambda u, v: dot(shorten(u), shorten(v))


def all_scores(
    score: Callable[[Tensor, Tensor], Tensor], anchors: list[Tensor], candidates: list[Tensor]
) -> ScoreMatrix:
    return [[score(u, v) for v in candidates] for u in anchors]


# Who is near -------------------------------------------------------------------


@dataclass
class Arranged:
    anchors: list[Tensor]
    candidates: list[Tensor]
    near: Matrix
    far: Matrix
    own: list[int]  # the column that is the anchor itself, -1 if none

    def masked(self) -> int:
        """Pairs that do not count, not counting a row against itself."""
        return sum(
            self.near[i][j] == 0 and self.far[i][j] == 0 and j != self.own[i]
            for i in range(len(self.anchors))
            for j in range(len(self.candidates))
        )


def arrange(
    layout: str,
    views: list[Tensor],
    ids: list[int] | None = None,
    labels: list[int] | None = None,
    queue: Tensor | None = None,
    queue_ids: list[int] | None = None,
) -> Arranged:
    """Who meets whom, pair by pair."""
    n = len(views[0])
    keys = labels if labels is not None else ids if ids is not None else list(range(n))
    extra = [] if queue is None else list(queue)
    extra_keys = queue_ids if queue_ids is not None else [10_000 + k for k in range(len(extra))]
    if layout == "cross" and len(views) == 2:
        anchors, candidates = list(views[0]), list(views[1]) + extra
        anchor_keys, candidate_keys, own = keys, keys + extra_keys, [-1] * n
        by_partner = labels is None
    else:
        anchors = [row for view in views for row in view]
        candidates = anchors + extra
        anchor_keys = keys * len(views)
        candidate_keys, own, by_partner = anchor_keys + extra_keys, list(range(len(anchors))), False
    near = [[0.0] * len(candidates) for _ in anchors]
    far = [[0.0] * len(candidates) for _ in anchors]
    for i in range(len(anchors)):
        for j in range(len(candidates)):
            a, c = anchor_keys[i], candidate_keys[j]
            if by_partner and j == i:
                near[i][j] = 1.0
            elif j == own[i] or (not by_partner and (a < 0 or c < 0)):
                continue
            elif a == c and not (by_partner and a < 0):
                near[i][j] = 0.0 if by_partner else 1.0
            else:
                far[i][j] = 1.0
    return Arranged(anchors, candidates, near, far, own)


# Small helpers -----------------------------------------------------------------


def listed(weights: list[float]) -> list[tuple[int, float]]:
    return [(j, w) for j, w in enumerate(weights) if w > 0]


def once(near: list[float], far: list[float]) -> list[tuple[int, float]]:
    """Near and far candidates together, each once; near ones stand with weight 1 in a denominator."""
    return listed([1.0 if p > 0 else f for p, f in zip(near, far, strict=True)])


def log_sum(terms: list[tuple[Tensor, float]]) -> Tensor:
    top = max(number(x) for x, _ in terms)
    total = sum((w * (x - top).exp() for x, w in terms), start=torch.zeros((), dtype=torch.float64))
    return top + total.log()


def mean(values: list[Tensor]) -> Tensor:
    return sum(values) / len(values) if values else torch.zeros((), dtype=torch.float64)


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def transposed(m: list[list]) -> list[list]:
    return [list(row) for row in zip(*m, strict=True)]


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


# Two plain views ---------------------------------------------------------------


def align_uniform(alpha: float, t: float, wa: float, wu: float) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        rows = [[unit(r) for r in view] for view in (a, b)]
        align = mean([(u - v).square().sum() ** (alpha / 2) for u, v in zip(*rows, strict=True)])
        uniform = []
        for view in rows:
            pairs = [(view[i], view[j]) for i in range(len(view)) for j in range(i)]
            uniform.append(mean([(-t * (u - v).square().sum()).exp() for u, v in pairs]).log())
        return wa * align + wu * (uniform[0] + uniform[1]) / 2

    return value


def columns(z: Tensor) -> list[list[Tensor]]:
    return [[z[i, d] for i in range(len(z))] for d in range(z.shape[1])]


def barlow(off: float, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    def standard(column: list[Tensor]) -> list[Tensor]:
        centre = mean(column)
        spread = mean([(x - centre) ** 2 for x in column])
        return [(x - centre) / (spread + 1e-5).sqrt() for x in column]

    def value(a: Tensor, b: Tensor) -> Tensor:
        left, right = ([standard(c) for c in columns(z)] for z in (a, b))
        total = torch.zeros((), dtype=torch.float64)
        for d in range(len(left)):
            for e in range(len(right)):
                c = mean([x * y for x, y in zip(left[d], right[e], strict=True)])
                total = total + ((c - 1) ** 2 if d == e else off * c**2)
        return scale * total

    return value


def vicreg(form: str) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        n, width = a.shape
        invariance = sum((a[i, d] - b[i, d]) ** 2 for i in range(n) for d in range(width)) / n
        variance, covariance = [], []
        for z in (a, b):
            centred = [[x - mean(c) for x in c] for c in columns(z)]
            cov = [[sum(x * y for x, y in zip(p, q, strict=True)) / (n - 1) for q in centred] for p in centred]
            hinge = [1 - (cov[d][d] + 1e-4).sqrt() for d in range(width)]
            variance.append(mean([h if number(h) > 0 else h * 0 for h in hinge]))
            covariance.append(sum(cov[d][e] ** 2 for d in range(width) for e in range(width) if d != e) / width)
        if form == "official":
            return 25 * invariance / width + 25 * (variance[0] + variance[1]) / 2 + covariance[0] + covariance[1]
        return 25 * invariance + 25 * (variance[0] + variance[1]) + covariance[0] + covariance[1]

    return value


def regression(base: float, slope: float, constant: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        target = b.detach() if constant else b
        return mean([base + slope * cosine(u, v) for u, v in zip(a, target, strict=True)])

    return value


def wmse(eps: float, block: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    def white(part: list[Tensor]) -> list[Tensor]:
        """Forward substitution with a Cholesky factor, both written out."""
        n, width = len(part), len(part[0])
        centre = [mean([r[d] for r in part]) for d in range(width)]
        centred = [[r[d] - centre[d] for d in range(width)] for r in part]
        cov = [
            [(1 - eps) * sum(r[d] * r[e] for r in centred) / (n - 1) + (eps if d == e else 0) for e in range(width)]
            for d in range(width)
        ]
        lower: list[list[Tensor]] = []
        for d in range(width):
            lower.append([])
            for e in range(d + 1):
                rest = cov[d][e] - sum(lower[d][k] * lower[e][k] for k in range(e))
                lower[d].append(rest.sqrt() if d == e else rest / lower[e][e])
        out = []
        for r in centred:
            solved: list[Tensor] = []
            for d in range(width):
                solved.append((r[d] - sum(lower[d][k] * solved[k] for k in range(d))) / lower[d][d])
            out.append(torch.stack(solved))
        return out

    def value(a: Tensor, b: Tensor) -> Tensor:
        size = block or len(a)
        starts = [k * size for k in range(max(1, len(a) // size))]
        ends = [*starts[1:], len(a)]
        parts = [(white(list(a[s:e])), white(list(b[s:e]))) for s, e in zip(starts, ends, strict=True)]
        return mean([2 - 2 * cosine(u, v) for left, right in parts for u, v in zip(left, right, strict=True)])

    return value


def cross_entropy(target: list[float], row: Tensor, t: float) -> Tensor:
    bottom = (row / t).exp().sum().log()
    return sum(-q * (s / t - bottom) for q, s in zip(target, row, strict=True))


def swapped(t: float, epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
    def codes(scores: Tensor) -> list[list[float]]:
        """The matrix form of the paper: columns of prototypes and rows of items are scaled in turn."""
        n, k = scores.shape
        top = number(scores.max())
        q = [
            [float(torch.tensor((number(x) - top) / epsilon, dtype=torch.float64).exp()) for x in row] for row in scores
        ]
        for _ in range(3):
            columns = [sum(row[c] for row in q) for c in range(k)]
            q = [[row[c] / columns[c] / k for c in range(k)] for row in q]
            q = [[x / sum(row) / n for x in row] for row in q]
        return [[x * n for x in row] for row in q]

    def value(a: Tensor, b: Tensor) -> Tensor:
        one = [cross_entropy(q, row, t) for q, row in zip(codes(a), b, strict=True)]
        other = [cross_entropy(q, row, t) for q, row in zip(codes(b), a, strict=True)]
        return mean(one + other)

    return value


def distilled(t: float, teacher_t: float) -> Callable[[Tensor, Tensor], Tensor]:
    def value(a: Tensor, b: Tensor) -> Tensor:
        targets = [[number(x) for x in (row.detach() / teacher_t).softmax(0)] for row in b]
        return mean([cross_entropy(q, row, t) for q, row in zip(targets, a, strict=True)])

    return value
