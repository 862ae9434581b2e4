"""What ranked lists are worth against graded relevance, one score for each query.

Of a query with R relevant documents (grade >= level), where rel(i) is 1 if the document at rank i is relevant, P(i) the
share of relevant ones among the first i, and g(i) the gain of the grade at rank i (the grade itself, or 2^grade - 1):

- precision@k   relevant documents among the first k, divided by k (shorter lists too)
- recall@k      the same divided by R
- hit@k         1 if there is any among the first k, else 0 ("recall@k" of metric learning, "accuracy@k", "success@k")
- mrr@k         1 / rank of the first relevant one, 0 if it is below k
- map@k         (1/R) sum over i <= k of rel(i) P(i); divided by min(R, k) with `divide="min"`
- ndcg@k        sum over i <= k of g(i) / log2(i + 1), divided by that of the judged documents in the best order
- r_precision   precision@R
- bpref         (1/R) sum over relevant ones of 1 - min(n, R) / min(N, R); n of the N judged not relevant stand above
- err@k         sum over i <= k of (1/i) r(i) prod over j < i of (1 - r(j)), r = (2^grade - 1) / 2^highest: the mean of
                1/rank at which a reader stops who is content with a document of such a grade
- rbp@k         (1 - p) sum over i <= k of p^(i - 1) grade(i) / highest, p the patience of the reader
- judged@k      how many of the first k (or of the whole list, where it is shorter) are judged

Without "@k" the whole list counts. An unjudged document has grade 0, and a grade below 0 says that a document is not
judged, as it does in trec_eval. Source: trec_eval (NIST); McSherry & Najork 2008 for expected values over ties;
Chapelle et al. 2009, Expected Reciprocal Rank for Graded Relevance; Moffat & Zobel 2008, Rank-Biased Precision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nearfar.errors import ConfigError, DataError

from .entries import Entries

MEASURES = ("ndcg@10", "mrr@10", "map@100", "hit@1", "recall@10", "recall@100", "precision@10")
_KINDS = ("ndcg", "mrr", "map", "recall", "precision", "hit", "r_precision", "bpref", "err", "rbp", "judged")

Gain = Literal["linear", "exponential"]
Divide = Literal["relevant", "min"]
Ties = Literal["document", "stable", "pessimistic", "expected"]
Unjudged = Literal["irrelevant", "dropped", "relevant"]


@dataclass(frozen=True)
class Scoring:
    """The rules by which lists are scored.

    level: the grade from which a document is relevant. gain: of a grade in nDCG. divide: what average precision is
    divided by. ties: of documents with the same score (as float32) "document" puts the higher number first, as
    trec_eval does with names; "stable" keeps the order they are listed in; "pessimistic" puts the lowest grades first;
    "expected" gives the mean over all orders (not of bpref and err). unjudged: "irrelevant"; "dropped" from the lists
    before ranks are counted (condensed lists); "relevant", an upper bound for precision, hit and mrr, which alone have
    one that is the same for all k. highest: the best grade there can be, for err and rbp; the best judged one if None.
    patience: p of rbp, the share of readers that go on to the next rank.

    >>> Scoring(gain="burges")
    Traceback (most recent call last):
    nearfar.errors.ConfigError: unknown gain 'burges'; choose linear, exponential
    """

    level: float = 1.0
    gain: Gain = "linear"
    divide: Divide = "relevant"
    ties: Ties = "document"
    unjudged: Unjudged = "irrelevant"
    highest: float | None = None
    patience: float = 0.9

    def __post_init__(self) -> None:
        for name, kind in (("gain", Gain), ("divide", Divide), ("ties", Ties), ("unjudged", Unjudged)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}; choose {', '.join(get_args(kind))}")
        if not 0 < self.patience < 1:
            raise ConfigError(f"patience is between 0 and 1, got {self.patience:g}")

    def gains(self, grades: np.ndarray) -> np.ndarray:
        """Gain of each grade."""
        return grades if self.gain == "linear" else np.exp2(grades) - 1


@dataclass(frozen=True)
class Ranked:
    """scores: measure -> (kept,). kept: queries with a relevant document. lone: the others. missing: kept ones without
    a list, which score 0."""

    scores: dict[str, np.ndarray]
    kept: np.ndarray
    lone: int
    missing: int


def rank_scores(
    run: Entries, relevance: Entries, measures: Sequence[str] = MEASURES, scoring: Scoring | None = None
) -> Ranked:
    """Score the list of each query.

    run: scores of retrieved documents, higher is better, in any order. relevance: grades of judged ones. measures:
    "ndcg@10", "map", "r_precision", ... (see the head of this module). A query without a relevant document has no
    meaning in any of them: it is left out and counted; one without a list scores 0 and is counted.

    Raises ConfigError: an unknown measure, or one that the rules do not allow; DataError: shapes that differ, or no
    query has a relevant document.

    >>> run = Entries([0, 0], [3, 7], [0.9, 0.8], (1, 9))
    >>> found = rank_scores(run, Entries([0], [7], [1], (1, 9)), ["mrr@10", "ndcg@10", "precision@10"])
    >>> {key: round(float(values[0]), 6) for key, values in found.scores.items()}
    {'mrr@10': 0.5, 'ndcg@10': 0.63093, 'precision@10': 0.1}
    """
    rules = scoring or Scoring()
    wanted = {measure: depth_of(measure, rules) for measure in measures}
    if run.shape != relevance.shape:
        raise DataError(f"the run is of {run.shape} queries and documents, the relevance of {relevance.shape}")
    queries = run.shape[0]
    if rules.highest is not None and relevance.value.max(initial=0) > rules.highest:
        raise DataError(f"a grade is {relevance.value.max():g}, above highest = {rules.highest:g}")
    relevant = np.bincount(relevance.query[relevance.value >= rules.level], minlength=queries)
    kept = np.flatnonzero(relevant)
    if len(kept) == 0:
        raise DataError(f"no query has a document of grade {rules.level:g} or more; there is nothing to find")
    lists = _Lists(run, relevance.take(relevance.value >= 0), relevant, rules)
    scores = {measure: lists.score(measure.partition("@")[0], k)[kept] for measure, k in wanted.items()}
    missing = int((np.bincount(run.query, minlength=queries)[kept] == 0).sum())
    return Ranked(scores, kept, queries - len(kept), missing)


def depth_of(measure: str, rules: Scoring) -> int | None:
    """The k of a measure, None for the whole list.

    Raises ConfigError: no such measure, or the rules do not allow it.

    >>> depth_of("ndcg@10", Scoring()), depth_of("map", Scoring())
    (10, None)
    """
    match = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d*))?", measure)
    kind, k = match.groups() if match else (None, None)
    if kind not in _KINDS or (k and kind in ("r_precision", "bpref")) or (k is None and kind == "precision"):
        raise ConfigError(
            f"unknown measure {measure!r}; there are ndcg, mrr, map, recall, hit, err, rbp and judged, with or without "
            "a depth (ndcg@10), precision@k, r_precision and bpref"
        )
    if kind in ("bpref", "err") and rules.ties == "expected":
        raise ConfigError(f'{kind} has no expected value over ties here; choose ties="document" or leave it out')
    if rules.unjudged == "relevant" and kind not in ("precision", "hit", "mrr", "judged"):
        raise ConfigError(f'{measure} has no simple upper bound; with unjudged="relevant" ask for precision, hit, mrr')
    return int(k) if k else None


def title(measure: str) -> str:
    """What a reader sees.

    >>> title("ndcg@10"), title("r_precision")
    ('nDCG@10', 'R-precision')
    """
    kind, at, k = measure.partition("@")
    return (
        {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "err": "ERR", "rbp": "RBP", "r_precision": "R-precision"}.get(
            kind, kind
        )
        + at
        + k
    )


class _Lists:
    """All lists one after the other, in the order of queries and ranks."""

    def __init__(self, run: Entries, relevance: Entries, relevant: np.ndarray, rules: Scoring) -> None:
        self.rules, self.relevance, self.relevant = rules, relevance, relevant
        grade, judged = relevance.at(run)
        if rules.unjudged == "dropped":
            run, grade, judged = run.take(judged), grade[judged], judged[judged]
        score = run.value.astype(np.float32)
        first = {"stable": (), "pessimistic": (-run.document, grade)}.get(rules.ties, (-run.document,))
        order = np.lexsort((*first, -score, run.query))
        self.query, score, grade, judged = run.query[order], score[order], grade[order], judged[order]
        self.sizes = np.bincount(self.query, minlength=len(relevant))
        starts = np.cumsum(self.sizes) - self.sizes
        self.rank = np.arange(1, len(order) + 1) - starts[self.query]
        hit = (judged & (grade >= rules.level)) | (~judged & (rules.unjudged == "relevant"))
        self.hit, self.judged, self.gain = hit.astype(float), judged.astype(float), rules.gains(grade)
        self.other, self.grade = judged & ~hit, grade.astype(float)
        self.highest = float(relevance.value.max() if rules.highest is None else rules.highest) or 1.0
        found = self._so_far(self.hit)
        # Sums over ranks of these are average precision, and whether and where the first relevant document stands.
        self.precision = self.hit * found / self.rank
        self.first = self.hit * (found == 1)
        if rules.ties == "expected" and len(order):
            self._smooth(score, found)

    def score(self, kind: str, k: int | None) -> np.ndarray:
        within = np.ones(len(self.rank)) if k is None else (self.rank <= k).astype(float)
        if kind == "ndcg":
            return _ratio(self._sum(self.gain * within / np.log2(self.rank + 1)), self._ideal(k))
        if kind == "mrr":
            return self._sum(self.first * within / self.rank)
        if kind == "map":
            most = self.relevant if k is None or self.rules.divide == "relevant" else np.minimum(self.relevant, k)
            return _ratio(self._sum(self.precision * within), most)
        if kind == "recall":
            return _ratio(self._sum(self.hit * within), self.relevant)
        if kind == "hit":
            return self._sum(self.first * within)
        if kind == "r_precision":
            return _ratio(self._sum(self.hit * (self.rank <= self.relevant[self.query])), self.relevant)
        if kind == "judged":
            return _ratio(self._sum(self.judged * within), self.sizes if k is None else np.minimum(self.sizes, k))
        if kind == "bpref":
            return self._bpref()
        if kind == "err":
            return self._sum(self._stops() * within / self.rank)
        if kind == "rbp":
            p = self.rules.patience
            return (1 - p) * self._sum(self.grade / self.highest * within * p ** (self.rank - 1))
        assert kind == "precision" and k is not None
        return self._sum(self.hit * within) / k

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.query, values, minlength=len(self.sizes))

    def _so_far(self, values: np.ndarray) -> np.ndarray:
        """Sum within the list down to each rank, itself included."""
        running = np.concatenate([[0.0], np.cumsum(values)])
        return running[1:] - running[np.arange(len(values)) - self.rank + 1]

    def _ideal(self, k: int | None) -> np.ndarray:
        gain = self.rules.gains(self.relevance.value)
        order = np.lexsort((-gain, self.relevance.query))
        query, gain = self.relevance.query[order], gain[order]
        sizes = np.bincount(query, minlength=len(self.sizes))
        rank = np.arange(1, len(query) + 1) - (np.cumsum(sizes) - sizes)[query]
        within = np.ones(len(query)) if k is None else (rank <= k).astype(float)
        return np.bincount(query, gain * within / np.log2(rank + 1), minlength=len(self.sizes))

    def _bpref(self) -> np.ndarray:
        others = np.bincount(self.relevance.query, minlength=len(self.sizes)) - self.relevant
        above = np.minimum(self._so_far(self.other.astype(float)), self.relevant[self.query])
        most = np.minimum(others, self.relevant)[self.query]
        return _ratio(self._sum(self.hit * (1 - _ratio(above, most))), self.relevant)

    def _stops(self) -> np.ndarray:
        """The share of readers who stop at each rank, of those who begin the list."""
        above = np.exp2(self.grade - self.highest) - np.exp2(-self.highest)
        # As (1 - a) + b, since 1 - (a - b) is 0 for the highest of many grades.
        go = np.log(1 - np.exp2(self.grade - self.highest) + np.exp2(-self.highest))
        return above * np.exp(self._so_far(go) - go)

    def _smooth(self, score: np.ndarray, found: np.ndarray) -> None:
        """Put expected values over the orders of tied documents in the place of what stands at each rank."""
        from scipy.special import gammaln

        new = np.concatenate([[True], (self.query[1:] != self.query[:-1]) | (score[1:] != score[:-1])])
        group = np.cumsum(new) - 1
        start = np.flatnonzero(new)
        size = np.bincount(group)
        mean = {
            name: (np.bincount(group, getattr(self, name)) / size)[group] for name in ("hit", "judged", "gain", "grade")
        }
        n = size[group].astype(float)
        hits = np.round(mean["hit"] * n)
        before = (found - self.hit)[start][group]
        place = np.arange(len(group)) - start[group]  # from 0 within the group
        self.hit, self.judged, self.gain, self.grade = (mean[name] for name in ("hit", "judged", "gain", "grade"))
        above = before + place * np.maximum(hits - 1, 0) / np.maximum(n - 1, 1)
        self.precision = self.hit * (above + 1) / self.rank
        # The first of the group is at this place in C(left, hits - 1) of C(n, hits) orders, `left` places below it.
        left = n - 1 - place
        possible = (before == 0) & (hits > 0) & (left >= hits - 1)
        own, lower = np.where(possible, hits, 1), np.where(possible, left, 0)
        orders = gammaln(lower + 1) - gammaln(own) - gammaln(np.maximum(lower - own + 1, 0) + 1)
        total = gammaln(n + 1) - gammaln(own + 1) - gammaln(n - own + 1)
        self.first = np.where(possible, np.exp(orders - total), 0.0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where there is nothing below."""
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
