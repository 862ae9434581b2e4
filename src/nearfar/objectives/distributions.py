"""Two distributions per anchor, who is near and who scores high, and how far they are apart: I-Con, and p's for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ..contrast import (
    Composition,
    LearnedTemperature,
    LogSumExp,
    Mean,
    NegativeSquaredEuclidean,
    PairRelation,
    Pairs,
    Relation,
    Scores,
    WeightRelation,
    entry,
)
from ..contrast.objective import Terms

DIVERGENCES = ("ce", "kl", "jsd", "tv", "hellinger", "l2")
PANEL = 1 << 22  # distances that are at hand at a time


@entry
class ICon(Composition):
    """How far the distribution q of an anchor's scores is from p, that of its near candidates.

    p_ij is the weight of j among the near candidates of i; q_ij = softmax_j(s_ij / t) over all candidates that count.
    A method is a pair of both: p from views (SimCLR), labels (SupCon), a graph, `perplexity_neighbours` (SNE) or
    `nearest_neighbours`; q from a similarity, or Student's t with `df` degrees of freedom (t-SNE). The divergence is

    - "ce": -sum p log q, the usual one; "kl": sum p log(p / q), the same less the entropy of p;
    - "jsd": the mean KL to (p + q) / 2, from 0 to log 2; "tv": sum |p - q| / 2, from 0 to 1;
    - "hellinger": 1 - sum sqrt(p q), from 0 to 1; "l2": sum (p - q)^2, from 0 to 2.

    Args:
        divergence: "ce", "kl", "jsd", "tv", "hellinger" or "l2".
        alpha: p is mixed with this share of the uniform distribution over all candidates that count, for near pairs
            that are partly wrong and far ones that are partly near (debiasing); 1 forgets who is near.
        df: degrees of freedom of Student's t in place of the softmax of plain scores: the logit is
            -(df + 1) / 2 log(1 - s / (df t)), for scores that are minus squared distances.

    Shapes: two or more views (N, D), or one (R, D) with ids, labels or a relation. Value >= 0; at chance log(R - 1)
    for "ce". Divergences other than "ce" ask for whole rows, a panel at a time.

    >>> z = torch.eye(4)
    >>> round(float(ICon(temperature=0.5)(z, z)), 6)                           # NTXent: log(e^2 + 6) - 2
    0.594438
    """

    formula: ClassVar[str] = (
        "mean_i D(p_i, q_i),  p_ij = (1 - alpha) w_ij / sum_j w_ij + alpha / (R - 1),  q_ij = softmax_j(s_ij / t)"
    )
    source: ClassVar[str] = (
        "Alshammari et al. 2025, I-Con: A Unifying Framework for Representation Learning, eq. 1; ShadeAlsha/ICon"
    )
    use: ClassVar[str] = (
        "a loss of your own from who is near and how rows score; near pairs that are partly wrong (`alpha`, about "
        '0.3, or `divergence` "tv", "hellinger", "jsd", "l2", which forgive them)'
    )
    at_chance: ClassVar[str] = "log(2 * N - 1)"
    equal_to: ClassVar[str] = "NTXent of views and SupCon of labels for the cross-entropy with alpha = 0"
    reconstructed: ClassVar[str] = "the published default of alpha, and the scale of l2, tv and hellinger"

    temperature: float | LearnedTemperature = 0.1
    divergence: str = "ce"
    alpha: float = 0.0
    df: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divergence not in DIVERGENCES:
            raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, got {self.divergence!r}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is a share in [0, 1], got {self.alpha}")
        if self.df is not None and not self.df > 0:
            raise ValueError(f"df, the degrees of freedom, are above 0, got {self.df}")
        if self.df is not None and not isinstance(self.similarity, NegativeSquaredEuclidean):
            raise ValueError(f"Student's t is of squared distances: set similarity, which is {self.similarity}")

    def per_anchor(self, scores: Scores) -> Terms:
        """The divergence of every anchor."""
        if self.divergence != "ce":
            return {"divergence": scores.rows(self._rows)[0]}
        of = None if self.df is None else self._logits
        every, near = scores.reduce(LogSumExp("any", of=of), Mean("near", of=of))
        if not self.alpha:
            return {"attract": -near, "repel": every}
        (anyone,) = scores.reduce(Mean("any", of=of))
        return {"attract": -(1 - self.alpha) * near, "repel": every - self.alpha * anyone}

    def _logits(self, s: Tensor) -> Tensor:
        if self.df is None:
            return s
        return -(self.df + 1) / 2 * torch.log1p((-s).clamp_min(0) / self.df)

    def _rows(self, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor]:
        # As everywhere, a near candidate counts once among all, whatever its weight.
        base = torch.where(near > 0, 1, far)
        counted = base > 0
        p = (1 - self.alpha) * _shares(near) + self.alpha * _shares(base)
        logits = torch.where(counted, self._logits(s) + torch.where(counted, base, 1).log(), -torch.inf)
        some = counted.any(1, keepdim=True)
        log_q = torch.where(some, logits, 0).log_softmax(1)
        return (_divergence(self.divergence, p, torch.where(counted, log_q, 0), counted & some),)


def _shares(weights: Tensor) -> Tensor:
    """Rows that sum to 1; 0 where they are empty."""
    total = weights.sum(1, keepdim=True)
    return weights / torch.where(total > 0, total, 1)


def _divergence(kind: str, p: Tensor, log_q: Tensor, counted: Tensor) -> Tensor:
    """Of distributions in rows, (R, C) each, over the candidates that count."""
    q = torch.where(counted, log_q.exp(), 0)
    log_p = torch.where(p > 0, p, 1).log()
    if kind == "kl":
        return (p * (log_p - log_q)).sum(1)
    if kind == "l2":
        return (p - q).square().sum(1)
    if kind == "tv":
        return (p - q).abs().sum(1) / 2
    if kind == "hellinger":
        return 1 - torch.where(counted, p.sqrt() * (log_q / 2).exp(), 0).sum(1)
    middle = torch.where(counted & (p + q > 0), (p + q) / 2, 1).log()
    return ((p * (log_p - middle)).sum(1) + torch.where(counted, q * (log_q - middle), 0).sum(1)) / 2


def perplexity_neighbours(rows: Tensor, perplexity: float = 30.0, steps: int = 50) -> Relation:
    """Rows (N, D) against themselves, near by the Gaussian whose width gives each row `perplexity` neighbours (SNE).

    p(j | i) = exp(-b_i d_ij^2) / sum_(k != i) exp(-b_i d_ik^2), where the entropy of p_i is log perplexity; b_i is
    found by bisection. Every pair is far too, so that all rows count among the candidates. Distances are computed for
    the block at hand, O(N D) numbers are kept; finding the widths visits all pairs `steps` times. No gradient.

    Raises:
        ValueError: the perplexity is not between 1 and the number of other rows.
    """
    rows = rows.detach()
    n = len(rows)
    if not 1 < perplexity < n - 1:
        raise ValueError(f"the perplexity of {n} rows lies between 1 and {n - 1}, got {perplexity}")
    rates, totals = [], []
    for square in _panels(rows):
        nearest = square.amin(1, keepdim=True)
        rate = _rates(square - nearest, perplexity, steps)  # the nearest at 0, so that nothing underflows
        rates.append(rate)
        totals.append((-rate * (square - nearest)).logsumexp(1, keepdim=True) - rate * nearest)
    rate, total = torch.cat(rates), torch.cat(totals)

    def weight(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        near = (-rate[a] * _squares(rows[a], rows[c]) - total[a]).exp()
        return near, torch.ones_like(near)

    return WeightRelation(weight, torch.arange(n, device=rows.device))


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _panels(rows: Tensor) -> Iterator[Tensor]:
    """Squared distances (B, N) of some rows at a time to all rows; infinite to themselves."""
    n = len(rows)
    for own in torch.arange(n, device=rows.device).split(max(1, PANEL // n)):
        square = _squares(rows[own], rows)
        square[own - own[0], own] = torch.inf
        yield square


def _rates(square: Tensor, perplexity: float, steps: int) -> Tensor:
    """The inverse widths (B, 1) that give the rows of squared distances this perplexity."""
    wanted = torch.tensor(perplexity, dtype=square.dtype, device=square.device).log()
    low, high = torch.zeros_like(square[:, :1]), torch.full_like(square[:, :1], torch.inf)
    rate = torch.ones_like(low)
    for _ in range(steps):
        shares = (-rate * square).softmax(1)
        entropy = torch.special.entr(shares).sum(1, keepdim=True)
        flat = entropy > wanted
        low, high = torch.where(flat, rate, low), torch.where(flat, high, rate)
        rate = torch.where(high.isinf(), rate * 2, (low + high) / 2)
    return rate


def nearest_neighbours(rows: Tensor, k: int = 10) -> Relation:
    """Rows (N, D) against themselves: the k at the smallest Euclidean distance are near, all others far. No gradient.

    All pairs are visited once, a panel at a time; N k pairs are kept.

    Raises:
        ValueError: k is not between 1 and the number of other rows.

    >>> nearest_neighbours(torch.tensor([[0.0], [1.0], [5.0]]), k=1).near.columns.tolist()
    [1, 0, 1]
    """
    rows = rows.detach()
    n = len(rows)
    if not 1 <= k < n:
        raise ValueError(f"k is from 1 to {n - 1} for {n} rows, got {k}")
    found = torch.cat([square.topk(k, dim=1, largest=False).indices for square in _panels(rows)])
    numbers = torch.arange(n, device=rows.device)
    near = Pairs(numbers.repeat_interleave(k), found.reshape(-1))
    return PairRelation((n, n), near, own=numbers)
