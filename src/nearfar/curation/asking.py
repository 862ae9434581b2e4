"""Pairs of rows whose answer, near or far, helps most; answers in a file; and the table that learns from them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import nearest
from nearfar.store import Store

from .rows import Rows, read, shown, write_table

HEAD = ("a", "b", "answer")
_WORDS = {"near": True, "yes": True, "y": True, "far": False, "no": False, "n": False}


@dataclass(frozen=True)
class Answer:
    """Whether two rows are near."""

    a: str
    b: str
    near: bool


@dataclass(frozen=True)
class Question:
    """Two rows, their cosine, and the chance that they are near by the answers so far."""

    a: str
    b: str
    score: float
    chance: float


def read_answers(path: Path) -> list[Answer]:
    """Answers of a table with the columns a, b and answer: near or far, yes or no; rows without one are left out.

    Raises:
        DataError: a column is missing, or an answer is another word; it names the line.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in HEAD if name not in (reader.fieldnames or [])]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; answers have the columns {', '.join(HEAD)}")
        found = []
        for line, row in enumerate(reader, 2):
            word = (row["answer"] or "").strip().lower()
            if word and word not in _WORDS:
                raise DataError(f"{path}:{line}: the answer is {word!r}; write near or far, or leave it empty")
            if word:
                found.append(Answer(row["a"], row["b"], _WORDS[word]))
    return found


def write_answers(path: Path, answers: Iterable[Answer], open_: Iterable[Question] = ()) -> Path:
    """Write answers, and behind them questions to be answered."""
    rows: list[tuple[str, str, str]] = [(one.a, one.b, "near" if one.near else "far") for one in answers]
    return write_table(path, HEAD, [*rows, *((one.a, one.b, "") for one in open_)])


def questions(
    store: Store, answers: Sequence[Answer] = (), count: int = 20, k: int = 10, where: str | None = None
) -> list[Question]:
    """Pairs whose answer is least sure, no row twice; none that follows from the answers so far.

    Asked are pairs of a row and one of its k nearest. The chance that a pair is near is a logistic function of its
    cosine, fitted to the answers when there are both kinds; before, it is 1/2 at the median cosine of these pairs. What
    is near to the same row is near; what is far from a row is far from all that is near to it.

    Raises:
        ConfigError: a number out of range. DataError: too few rows, an answer about a row that is not there, or answers
        that contradict each other.
    """
    if count < 1 or k < 1:
        raise ConfigError(f"questions and near rows are 1 or more, not {count} and {k}")
    rows = read(store, where)
    place = {one: row for row, one in enumerate(rows.ids)}
    known = [(place[one.a], place[one.b], one.near) for one in answers if one.a in place and one.b in place]
    if where is None and len(known) < len(answers):
        lost = next(name for one in answers for name in (one.a, one.b) if name not in place)
        raise DataError(f"{store.path} has no row {lost!r}, about which there is an answer")
    groups, apart = closure(len(rows), known)
    pairs, cosines = _candidates(rows, k)
    chances = _chances(rows, known, cosines)
    order = np.argsort(np.abs(chances - 0.5), kind="stable")
    taken: set[int] = set()
    found: list[Question] = []
    for at in order.tolist():
        i, j = pairs[at].tolist()
        first, second = int(groups[i]), int(groups[j])
        if first == second or (min(first, second), max(first, second)) in apart or taken & {i, j}:
            continue
        taken |= {i, j}
        found.append(Question(rows.ids[i], rows.ids[j], float(cosines[at]), float(chances[at])))
        if len(found) == count:
            break
    return found


def closure(count: int, known: Sequence[tuple[int, int, bool]]) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """The group of each row by near answers, and pairs of groups (the lower first) that are far.

    Raises:
        DataError: two rows are far by an answer and near by others.

    >>> groups, apart = closure(4, [(0, 1, True), (1, 2, True), (2, 3, False)])
    >>> groups.tolist(), apart
    ([0, 0, 0, 1], {(0, 1)})
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    near = np.array([(i, j) for i, j, yes in known if yes], dtype=np.int64).reshape(-1, 2)
    graph = csr_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(count, count))
    groups = connected_components(graph, directed=False)[1]
    apart = set()
    for i, j, yes in known:
        if not yes:
            low, high = sorted((int(groups[i]), int(groups[j])))
            if low == high:
                raise DataError(f"rows {i} and {j} are far by one answer and near by others; correct the answers")
            apart.add((low, high))
    return groups, apart


def _candidates(rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
    near = nearest(rows.vectors, rows.vectors, min(k, len(rows) - 1), exclude=np.arange(len(rows)))
    pairs = np.stack([np.repeat(np.arange(len(rows)), near.index.shape[1]), near.index.reshape(-1)], axis=1)
    once, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    return once, near.scores.reshape(-1)[first]


def _chances(rows: Rows, known: Sequence[tuple[int, int, bool]], cosines: np.ndarray) -> np.ndarray:
    middle, spread = float(np.median(cosines)), float(cosines.std()) or 1.0
    if len({yes for _, _, yes in known}) < 2:
        found: np.ndarray = 1 / (1 + np.exp(-(cosines - middle) / spread))
        return found
    from sklearn.linear_model import LogisticRegression

    asked = np.array([float(rows.vectors[i] @ rows.vectors[j]) for i, j, _ in known])
    fitted = LogisticRegression().fit(((asked - middle) / spread)[:, None], [yes for _, _, yes in known])
    chances: np.ndarray = fitted.predict_proba(((cosines - middle) / spread)[:, None])[:, 1]
    return chances


def training_table(store: Store, answers: Sequence[Answer], path: Path) -> Path:
    """Write answers as a table that `fit` learns from.

    - of texts: anchor, positive and negative, a row for each near answer, for `--method pairs`; the negative is a text
      that is far from one of the two, empty where there is none, and left out where nothing is far;
    - of files such as pictures: path and label, for `--method supcon`; rows that near answers connect have one label,
      and a row that is only far from others has one of its own.

    Raises:
        DataError: no near answer, a contradiction, or a row that is neither a text nor a file.
    """
    if not any(one.near for one in answers):
        raise DataError("no answer says near, and there is nothing to learn from far alone; answer more questions")
    ids = list(dict.fromkeys(name for one in answers for name in (one.a, one.b)))
    place = {one: row for row, one in enumerate(ids)}
    groups, _ = closure(len(ids), [(place[one.a], place[one.b], one.near) for one in answers])
    store.vectors(ids)  # which says what row is not there
    seen = shown(store, ids)
    if all(seen[one].get("text") for one in ids):
        found = _triplets(answers, seen)
        width = 3 if any(negative for *_, negative in found) else 2
        return write_table(path, ("anchor", "positive", "negative")[:width], [row[:width] for row in found])
    rows = []
    for one in ids:
        file = Path(str(seen[one].get("name") or one))
        if not file.is_file():
            raise DataError(
                f"the row {one!r} is neither a text nor a file that is there, so nothing can be trained on it"
            )
        rows.append((os.path.relpath(file, path.parent), f"group {groups[place[one]]}"))
    return write_table(path, ("path", "label"), rows)


def _triplets(answers: Sequence[Answer], seen: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    far: dict[str, list[str]] = {}
    for one in answers:
        if not one.near:
            far.setdefault(one.a, []).append(one.b)
            far.setdefault(one.b, []).append(one.a)
    found = []
    for one in answers:
        if one.near:
            anchor, positive = (one.a, one.b) if one.a in far or one.b not in far else (one.b, one.a)
            others = [seen[name]["text"] for name in far.get(anchor, [])[:1]]
            found.append((seen[anchor]["text"], seen[positive]["text"], others[0] if others else ""))
    return found
