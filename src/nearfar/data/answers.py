"""Answers of people or other oracles to "are these two alike?": their file, and what follows from them."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfar.data.names import ids_of
from nearfar.data.source import Source
from nearfar.errors import DataError

HEAD = ("a", "b", "answer")
_WORDS = {"near": True, "yes": True, "y": True, "far": False, "no": False, "n": False}


@dataclass(frozen=True)
class Answer:
    """Whether two rows are near."""

    a: str
    b: str
    near: bool

    def row(self) -> tuple[str, str, str]:
        """What stands for it in a table.

        >>> Answer("x.png", "y.png", True).row()
        ('x.png', 'y.png', 'near')
        """
        return self.a, self.b, "near" if self.near else "far"


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


def append_answer(path: Path, answer: Answer) -> None:
    """Write one more answer behind those of a table; when this returns it is on the disk."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(answer.row())
    with path.open("ab") as file:
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


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


@dataclass(frozen=True)
class Groups:
    """Which items are alike by answers.

    Attributes:
        of: (largest id + 1,) int64, for each id the smallest id that answers connect it with; itself without answers.
        answered: (N,) bool, rows of the source of which an answer says anything.
        digest: a text that differs when any of this does.
    """

    of: np.ndarray
    answered: np.ndarray
    digest: str


def groups_of(source: Source, answers: Sequence[Answer]) -> Groups:
    """Groups of the items of some data, whose rows the answers call as a store does: by name, or else by content.

    Raises:
        DataError: an answer is about a row that is not there, or answers contradict each other.

    >>> from nearfar.data.source import ArraySource
    >>> source = ArraySource("images", np.zeros((3, 1, 2, 2), np.uint8), names=["x", "y", "z"])
    >>> found = groups_of(source, [Answer("z", "y", True), Answer("x", "y", False)])
    >>> found.of.tolist(), found.answered.tolist()
    ([0, 1, 1], [True, True, True])
    """
    place = {name: row for row, name in enumerate(ids_of(source) if answers else [])}
    if answers and answers[0].a not in place:
        place = {name: row for row, name in enumerate(ids_of(source, "content"))}
    lost = next((name for one in answers for name in (one.a, one.b) if name not in place), None)
    if lost is not None:
        raise DataError(f"the data have no row {lost!r}, about which there is an answer; ask about the same data")
    ids = source.ids
    known = [(int(ids[place[one.a]]), int(ids[place[one.b]]), one.near) for one in answers]
    number, _ = closure(int(ids.max(initial=-1)) + 1, known)
    first = np.full(number.max(initial=-1) + 1, len(number))
    np.minimum.at(first, number, np.arange(len(number)))
    of = first[number].astype(np.int64)
    met = np.isin(ids, [one for i, j, _ in known for one in (i, j)])
    return Groups(of, met, hashlib.sha256(of.tobytes() + met.tobytes()).hexdigest()[:16])
