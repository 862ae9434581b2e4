"""Pairs of rows whose answer, near or far, helps most; answers in a file; and the table that learns from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from nearfar.data.answers import HEAD, Answer, append_answer, closure, read_answers
from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import nearest
from nearfar.store import Store

from .rows import Rows, read, shown, write_table

Way = Literal["unsure", "grow", "random"]
TRIES = 3  # groups that a row is compared with before it waits for others like it


@dataclass(frozen=True)
class Question:
    """Two rows, their cosine, and the chance that they are near by the answers so far."""

    a: str
    b: str
    score: float
    chance: float


Oracle = Callable[[Question], bool | None]  # near, far, or skipped


class Enough(Exception):
    """Whoever answers wants no more questions."""


def write_answers(path: Path, answers: Iterable[Answer], open_: Iterable[Question] = ()) -> Path:
    """Write answers, and behind them questions to be answered."""
    return write_table(path, HEAD, [*(one.row() for one in answers), *((one.a, one.b, "") for one in open_)])


def ask_all(
    store: Store,
    path: Path,
    oracle: Oracle,
    count: int = 20,
    k: int = 10,
    where: str | None = None,
    way: Way = "unsure",
    rounds: int = 1,
    seed: int = 0,
) -> list[Answer]:
    """Put rounds of questions to an oracle; all answers, those of the table before them.

    Every answer is in the table before the next question is put. What is skipped is not put again.
    Arguments and errors are those of `questions`; the oracle ends it by `Enough`.
    """
    known = read_answers(path)
    write_answers(path, known)  # open questions of an earlier call are worked out anew
    skipped: set[frozenset[str]] = set()
    for _ in range(rounds):
        asked = questions(store, known, count, k, where, way, seed, skipped)
        for one in asked:
            try:
                near = oracle(one)
            except Enough:
                return known
            if near is None:
                skipped.add(frozenset((one.a, one.b)))
            else:
                known.append(Answer(one.a, one.b, near))
                append_answer(path, known[-1])
        if not asked:
            break
    return known


def by_column(store: Store, column: str) -> Oracle:
    """An oracle that knows labels: rows are near when they have the same; of rows without one it knows nothing.

    Raises:
        ConfigError: there is no such column.
    """
    if column not in store.columns:
        raise ConfigError(f"{store.path} has no column {column!r}; it has {', '.join(store.columns) or 'no columns'}")
    labels: dict[str, Any] = {}
    for batch in store.blocks(None, ["id", column]):
        labels.update(zip(batch["id"].to_pylist(), batch[column].to_pylist(), strict=True))

    def oracle(question: Question) -> bool | None:
        a, b = labels[question.a], labels[question.b]
        return None if a is None or b is None else bool(a == b)

    return oracle


def questions(
    store: Store,
    answers: Sequence[Answer] = (),
    count: int = 20,
    k: int = 10,
    where: str | None = None,
    way: Way = "unsure",
    seed: int = 0,
    skipped: Collection[frozenset[str]] = (),
) -> list[Question]:
    """Pairs that are worth an answer; none that follows from the answers so far, and none that was skipped.

    - "unsure": pairs of a row and one of its k nearest whose answer is least sure, no row twice.
    - "grow": a row of which nothing is known, drawn at random, and the nearest of those asked about: is it of their
      group? If not, the nearest of another group follows, up to three. A few groups grow, each answer says of its row
      what it says of the whole group.
    - "random": any two rows. This is how little a question is worth that nobody chose.

    The chance that a pair is near is a logistic function of its cosine, fitted to the answers when there are both
    kinds; before, it is 1/2 at the median cosine of these pairs. What is near to the same row is near; what is far from
    a row is far from all that is near to it.

    Raises:
        ConfigError: a number out of range, or another way. DataError: too few rows, an answer about a row that is not
        there, or answers that contradict each other.
    """
    if count < 1 or k < 1:
        raise ConfigError(f"questions and near rows are 1 or more, not {count} and {k}")
    if way not in get_args(Way):
        raise ConfigError(f"questions are chosen by {', '.join(get_args(Way))}, not by {way!r}")
    rows = read(store, where)
    place = {one: row for row, one in enumerate(rows.ids)}
    known = [(place[one.a], place[one.b], one.near) for one in answers if one.a in place and one.b in place]
    if where is None and len(known) < len(answers):
        lost = next(name for one in answers for name in (one.a, one.b) if name not in place)
        raise DataError(f"{store.path} has no row {lost!r}, about which there is an answer")
    state = _State(rows, known, *closure(len(rows), known))
    random = np.random.default_rng([seed, len(answers)])
    if way == "unsure":
        pairs = _neighbours(rows, k)
    elif way == "grow":
        pairs = _beside(state, count + len(skipped), random)
    else:
        pairs = random.integers(len(rows), size=(20 * (count + len(skipped)), 2))
    cosines = np.einsum("nd,nd->n", rows.vectors[pairs[:, 0]], rows.vectors[pairs[:, 1]])
    chances = _chances(state, cosines) if len(pairs) else cosines
    order = np.argsort(np.abs(chances - 0.5), kind="stable") if way == "unsure" else np.arange(len(pairs))
    taken: set[int] = set()
    done = set(skipped)
    found: list[Question] = []
    for at in order.tolist():
        i, j = pairs[at].tolist()
        pair = frozenset((rows.ids[i], rows.ids[j]))
        if state.says(i, j) or pair in done or (way == "unsure" and taken & {i, j}):
            continue
        taken |= {i, j}
        done.add(pair)
        found.append(Question(rows.ids[i], rows.ids[j], float(cosines[at]), float(chances[at])))
        if len(found) == count:
            break
    return found


@dataclass(frozen=True)
class _State:
    """Rows, the answers about them by number, the group of each row, and pairs of groups that are far."""

    rows: Rows
    known: Sequence[tuple[int, int, bool]]
    groups: np.ndarray
    apart: set[tuple[int, int]]

    def says(self, i: int, j: int) -> bool:
        """Whether the answer about two rows follows from others."""
        low, high = sorted((int(self.groups[i]), int(self.groups[j])))
        return low == high or (low, high) in self.apart


def _neighbours(rows: Rows, k: int) -> np.ndarray:
    near = nearest(rows.vectors, rows.vectors, min(k, len(rows) - 1), exclude=np.arange(len(rows)))
    pairs = np.stack([np.repeat(np.arange(len(rows)), near.index.shape[1]), near.index.reshape(-1)], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _beside(state: _State, count: int, random: np.random.Generator) -> np.ndarray:
    """(Q, 2) rows, and the nearest of those asked about whose answer does not follow."""
    groups, vectors = state.groups, state.rows.vectors
    asked = np.unique([row for i, j, _ in state.known for row in (i, j)]).astype(np.int64)
    far: dict[int, list[int]] = {}
    for low, high in state.apart:
        far.setdefault(low, []).append(high)
        far.setdefault(high, []).append(low)
    sizes = np.bincount(groups)
    begun = [row for row in asked.tolist() if sizes[groups[row]] == 1 and len(far.get(groups[row], ())) < TRIES]
    fresh = random.permutation(np.setdiff1d(np.arange(len(groups)), asked))
    chosen = np.concatenate([np.array(begun, dtype=np.int64), fresh[: 2 * count]])
    others = asked if len(asked) else np.arange(len(groups))
    cosines = vectors[chosen] @ vectors[others].T
    for line, row in zip(cosines, chosen.tolist(), strict=True):
        line[np.isin(groups[others], [groups[row], *far.get(groups[row], ())])] = -np.inf
    open_ = np.isfinite(cosines).any(1)
    return np.stack([chosen[open_], others[cosines[open_].argmax(1)]], axis=1)


def _chances(state: _State, cosines: np.ndarray) -> np.ndarray:
    known, vectors = state.known, state.rows.vectors
    middle, spread = float(np.median(cosines)), float(cosines.std()) or 1.0
    if len({yes for _, _, yes in known}) < 2:
        found: np.ndarray = 1 / (1 + np.exp(-(cosines - middle) / spread))
        return found
    from sklearn.linear_model import LogisticRegression

    asked = np.array([float(vectors[i] @ vectors[j]) for i, j, _ in known])
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
