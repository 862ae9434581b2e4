"""Groups of rows by k-means, HDBSCAN or shifts between domains, with words, labels and how well they stand apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.store import Store

from .rows import Rows, labelled, read
from .shift import latent_shift

Way = Literal["kmeans", "hdbscan", "shift"]
TRIED = (2, 3, 5, 8, 12, 20, 30)  # numbers of clusters that are tried when none is given
_SAMPLE = 2000  # rows that silhouettes are measured on
_MOST_WORDS = 20_000


@dataclass(frozen=True)
class Cluster:
    """A group: its size, the ids nearest to its middle, silhouette, keywords of its texts, most frequent label and its
    share among the labelled rows of the group (empty and 0 without labels)."""

    number: int
    size: int
    examples: list[str]
    silhouette: float
    words: list[str]
    label: str
    share: float

    @property
    def name(self) -> str:
        """What to call it: its keywords, or its most frequent label, or its number."""
        return ", ".join(self.words[:3]) or self.label or f"cluster {self.number}"


@dataclass(frozen=True)
class Clusters:
    """All groups, largest first; the number of each row's group, -1 for none; the mean silhouette; and, of groups by
    shift, the share of each group in every domain, by name of the domain."""

    ids: list[str]
    numbers: np.ndarray
    clusters: list[Cluster]
    silhouette: float
    proportions: dict[str, np.ndarray] = field(default_factory=dict)


def cluster(
    store: Store,
    way: Way = "kmeans",
    count: int | None = None,
    least: int = 10,
    label: str = "label",
    where: str | None = None,
    seed: int = 0,
    domain: str | None = None,
) -> Clusters:
    """Group the rows of a store by their unit vectors.

    Args:
        way: "kmeans" puts every row into one of `count` groups; "hdbscan" finds dense groups of at least `least` rows
            and leaves the others without one; "shift" finds `count` groups whose proportions differ from one domain to
            the next (see `latent_shift`).
        count: groups of k-means; of 2, 3, 5, 8, 12, 20 and 30 the one with the best silhouette when None.
        domain: the column of domains, of "shift" alone.

    Raises:
        ConfigError: another way, or a number out of range. DataError: fewer than three rows.
    """
    if way not in ("kmeans", "hdbscan", "shift"):
        raise ConfigError(f"clusters are found by kmeans, hdbscan or shift, not {way!r}")
    if (way == "shift") != (domain is not None) or (way == "shift" and count is None):
        raise ConfigError("shift, and no other way, needs a column of domains and the number of clusters")
    rows = read(store, where, label, least=3)
    if count is not None and not 2 <= count < len(rows):
        raise ConfigError(f"{len(rows)} rows make 2 to {len(rows) - 1} clusters, not {count}")
    if least < 2:
        raise ConfigError(f"a cluster has at least 2 rows, not {least}")
    shares, domains = np.empty((0, 0)), list[str]()
    if way == "shift":
        numbers, domains = _domains(store, where, domain or "")
        shifted = latent_shift(rows.vectors, numbers, count or 2, seed=seed)
        found, shares = shifted.numbers, shifted.proportions
    else:
        found = dense(rows.vectors, least) if way == "hdbscan" else means(rows.vectors, count, seed)
    order = [number for number, _ in Counter(found[found >= 0].tolist()).most_common()]
    renumbered = np.full(len(found), -1)
    for place, number in enumerate(order):
        renumbered[found == number] = place
    texts = _texts(store, where)
    single = silhouettes(rows.vectors, renumbered, seed)
    words = keywords(texts, renumbered) if texts else [[] for _ in order]
    made = [_described(rows, renumbered, place, single, words[place]) for place in range(len(order))]
    overall = float(np.nanmean(single)) if np.isfinite(single).any() else float("nan")
    proportions = {name: shares[order, column] for column, name in enumerate(domains)}
    return Clusters(rows.ids, renumbered, made, overall, proportions)


def means(vectors: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """(N,) groups by k-means."""
    from sklearn.cluster import KMeans

    tried = [count] if count else [one for one in TRIED if one < len(vectors)]
    best, found = -np.inf, np.zeros(len(vectors), np.int64)
    for one in tried:
        groups = KMeans(one, n_init=3, random_state=seed).fit_predict(vectors)
        if count:
            return np.asarray(groups, dtype=np.int64)
        value = float(np.nanmean(silhouettes(vectors, groups, seed)))
        if value > best:
            best, found = value, groups
    return found.astype(np.int64)


def dense(vectors: np.ndarray, least: int) -> np.ndarray:
    """(N,) groups by HDBSCAN, -1 for none."""
    from sklearn.cluster import HDBSCAN

    least = min(least, len(vectors))
    return np.asarray(HDBSCAN(min_cluster_size=least, copy=True).fit_predict(vectors), dtype=np.int64)


def silhouettes(vectors: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """(N,) silhouettes by cosine of at most 2,000 rows with a group, NaN for the others."""
    from sklearn.metrics import silhouette_samples

    found = np.full(len(vectors), np.nan)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(groups >= 0))[:_SAMPLE]
    kinds = len(np.unique(groups[rows]))
    if 2 <= kinds < len(rows):
        found[rows] = silhouette_samples(vectors[rows], groups[rows], metric="cosine")
    return found


def keywords(texts: Sequence[str], groups: np.ndarray, count: int = 6) -> list[list[str]]:
    """The words that tell each group from the others: frequency in the group x log(1 + A / frequency in all).

    A is the mean number of words in a group. Source: class-based TF-IDF, Grootendorst 2022, "BERTopic".

    >>> keywords(["red cat", "cat sleeps", "red star", "star shines"], np.array([0, 0, 1, 1]), count=1)
    [['cat'], ['star']]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    number = int(groups.max(initial=-1)) + 1
    if not number:
        return []
    joined = [" ".join(text for text, group in zip(texts, groups, strict=True) if group == n) for n in range(number)]
    reader = CountVectorizer(stop_words="english", max_features=_MOST_WORDS, token_pattern=r"(?u)\b[^\W\d_]{2,}\b")
    try:
        counts = reader.fit_transform(joined).toarray().astype(np.float64)
    except ValueError:  # there is no word but stop words
        return [[] for _ in range(number)]
    weights = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    weights = weights * np.log(1 + counts.sum() / number / counts.sum(0))
    names = reader.get_feature_names_out()
    best = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    return [[str(names[word]) for word in line if weights[n, word] > 0] for n, line in enumerate(best)]


def _domains(store: Store, where: str | None, column: str) -> tuple[np.ndarray, list[str]]:
    """The domain of each row as a number, and their names."""
    rows = read(store, where, column)
    gone = len(rows) - len(labelled(store, rows, column))
    if gone:
        raise DataError(f'{gone} rows have no {column}; leave them out with --where "{column} IS NOT NULL"')
    return rows.labels, rows.classes


def _texts(store: Store, where: str | None) -> list[str]:
    if "text" not in store.columns:
        return []
    found = [one or "" for batch in store.blocks(where, ["text"]) for one in batch["text"].to_pylist()]
    return found if any(found) else []


def _described(rows: Rows, groups: np.ndarray, number: int, single: np.ndarray, words: list[str]) -> Cluster:
    mine = np.flatnonzero(groups == number)
    middle = rows.vectors[mine].mean(0)
    nearest = mine[np.argsort(-(rows.vectors[mine] @ middle), kind="stable")[:12]]
    known = rows.labels[mine][rows.labels[mine] >= 0]
    label, share = "", 0.0
    if len(known):
        best, times = Counter(known.tolist()).most_common(1)[0]
        label, share = rows.classes[best], times / len(known)
    inside: Any = single[mine][np.isfinite(single[mine])]
    apart = float(inside.mean()) if len(inside) else float("nan")
    return Cluster(number, len(mine), [rows.ids[row] for row in nearest], apart, words, label, share)
