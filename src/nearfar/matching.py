"""What data say of what belongs together: graded pairs, plain pairs, or queries, documents and judgments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data.source import Source
from .errors import ConfigError, DataError
from .evaluation import (
    MATCH_PROBES,
    Entries,
    Evaluation,
    EvaluationSettings,
    Neighbours,
    Quality,
    Scoring,
    pair_quality,
    pair_scores,
    run_quality,
    search_quality,
    similarity_quality,
)
from .evaluation.entries import entries_of
from .evaluation.ranking import depth_of
from .mining import BM25
from .modalities import Searchable

WORDS, DEPTH = "BM25", 100
_MOST_RELEVANT = 20_000_000  # pairs that may share an id


@dataclass(frozen=True)
class Matches:
    """Two sides and what is known between them.

    Attributes:
        queries, documents: of pairs the first and the second parts, row by row; of a collection what searches and what
            is searched in.
        targets: (N,) how alike the two of each pair are; None for a collection and for pairs that belong together.
        relevance: grades of (queries, documents); None where there are targets.
        held: other pairs, on which thresholds are chosen; None where there are none.
    """

    queries: Source
    documents: Source
    targets: np.ndarray | None = None
    relevance: Entries | None = None
    held: Matches | None = None

    @property
    def probes(self) -> tuple[str, ...]:
        """What can be measured, the usual one first."""
        if self.targets is None:
            return ("search",)
        return ("pairs", "similarity") if set(np.unique(self.targets)) <= {0.0, 1.0} else ("similarity",)

    def __str__(self) -> str:
        where = Path(self.queries.details.get("path", "memory")).name
        if self.relevance is not None and len(self.queries) != len(self.documents):
            sides = f"{len(self.queries):,} queries, {len(self.documents):,} documents"
            return f"Scored on {sides} and {len(self.relevance):,} judgments of {where}."
        return f"Scored on {len(self.queries):,} {'' if self.targets is None else 'graded '}pairs of {where}."

    def check(self, probes: Sequence[str]) -> None:
        """Raises DataError for a probe that these data do not allow."""
        wrong = [probe for probe in probes if probe not in self.probes]
        if wrong:
            raise DataError(
                f"these data allow the probe {' or '.join(self.probes)}, not {wrong[0]}: similarity needs graded "
                "pairs, pairs needs pairs with the scores 0 and 1, search needs pairs without scores or a collection "
                "with relevance, and all others need classes"
            )


def matches_in(train: Source, held: Source | None) -> Matches | None:
    """The pairs of data in parts, scored on the test part where there is one; None where items have one part only."""
    sides = (train if held is None else held).parts()
    if len(sides) < 2:
        return None
    source = train if held is None else held
    if source.targets is None:
        return Matches(sides[0], sides[1], relevance=_same_ids(source.ids))
    return Matches(sides[0], sides[1], source.targets, held=None if held is None else matches_in(train, None))


def of_collection(found: Searchable) -> Matches:
    """The judgments of a collection."""
    shape = len(found.queries), len(found.documents)
    return Matches(
        found.queries, found.documents, relevance=Entries(found.query_rows, found.document_rows, found.grades, shape)
    )


def wanted(train: Source, held: Source | None, probes: Sequence[str] | None) -> Matches | None:
    """What belongs together, where probes ask for it, or where data without classes say it and nothing is asked for.

    Raises ConfigError: probes of different kinds; DataError: they ask for it and the data do not say it.
    """
    if probes is None:
        return None if train.labels is not None else matches_in(train, held)
    asked = [probe for probe in probes if probe in MATCH_PROBES]
    others = [probe for probe in probes if probe not in MATCH_PROBES]
    if not asked:
        return None
    if others:
        raise ConfigError(f"{asked[0]} and {others[0]} are for different data; ask for them one after the other")
    found = matches_in(train, held)
    if found is None:
        raise DataError(f"{asked[0]} needs pairs, or a collection with relevance; these data have neither")
    return found


def evaluations(
    matches: Matches,
    probes: Sequence[str],
    settings: EvaluationSettings,
    looks: Mapping[str, Callable[[Source], np.ndarray]],
    say: Callable[[str], None],
) -> tuple[dict[str, Evaluation], np.ndarray]:
    """What each way to look at rows reaches, and the vectors (Q, D) of the queries by the first.

    looks: name -> vectors of a source.
    """
    matches.check(probes)
    found: dict[str, Evaluation] = {}
    first: np.ndarray | None = None
    for name, vectors in looks.items():
        say(f"{name}: vectors")
        a, b = vectors(matches.queries), vectors(matches.documents)
        first = a if first is None else first
        held = None
        if matches.held is not None and "pairs" in probes:
            held = pair_scores(vectors(matches.held.queries), vectors(matches.held.documents))
        result = Evaluation(counts={"queries": len(a), "documents": len(b), "width": a.shape[1]})
        for probe in probes:
            say(f"{name}: {probe}")
            result.add_quality(probe, _measured(probe, matches, a, b, held, settings))
        found[name] = result
    assert first is not None
    return found, first


def by_words(matches: Matches, settings: EvaluationSettings) -> Quality:
    """What a search by words finds (BM25), whatever the vectors.

    Raises:
        ConfigError: what is searched is no text. ImportError: bm25s is not installed.
    """
    if matches.relevance is None or not all(hasattr(side, "columns") for side in (matches.queries, matches.documents)):
        raise ConfigError("words are searched in texts; these data have none")
    asked, sought = (list(next(iter(s.columns.values()))) for s in (matches.queries, matches.documents))  # type: ignore
    depth = min(max(DEPTH, *(depth_of(name, Scoring()) or 0 for name in settings.measures)), len(sought))
    found = BM25(asked, sought).find(np.arange(len(asked)), depth)
    listed = entries_of(Neighbours(found.scores, found.index), len(sought))
    resamples, seed = settings.resamples, settings.seed
    return run_quality(listed, matches.relevance, settings.measures, Scoring(ties="stable"), resamples, seed)


def _measured(
    probe: str, matches: Matches, a: np.ndarray, b: np.ndarray, held: np.ndarray | None, settings: EvaluationSettings
) -> Quality:
    resamples, seed = settings.resamples, settings.seed
    if probe == "search":
        assert matches.relevance is not None
        return search_quality(a, b, matches.relevance, settings.measures, resamples=resamples, seed=seed)
    assert matches.targets is not None
    scores = pair_scores(a, b)
    if probe == "similarity":
        return similarity_quality(scores, matches.targets, resamples=resamples, seed=seed)
    others = None if held is None or matches.held is None else _alike(matches.held.targets)
    return pair_quality(scores, _alike(matches.targets), held, others, resamples, seed)


def _alike(targets: np.ndarray | None) -> np.ndarray:
    assert targets is not None
    return targets.astype(np.int64)


def _same_ids(ids: np.ndarray) -> Entries:
    """Relevance of second parts to first ones: those of the same row, and of other rows with its id."""
    order = np.argsort(ids, kind="stable")
    _, sizes = np.unique(ids, return_counts=True)
    if (sizes.astype(np.float64) ** 2).sum() > _MOST_RELEVANT:
        raise DataError("too many pairs share an id for a search; read them with duplicates=own-id")
    starts = np.cumsum(sizes) - sizes
    length = np.repeat(sizes, sizes)  # of the group of each row, in order
    query = np.repeat(order, length)
    place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    document = order[np.repeat(np.repeat(starts, sizes), length) + place]
    return Entries(query, document, np.ones(len(query)), (len(ids), len(ids)))
