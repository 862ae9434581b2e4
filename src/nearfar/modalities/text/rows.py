"""From the rows of a table to columns of texts, labels and scores."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nearfar.data.labels import encode_labels
from nearfar.errors import DataError

from ..peek import is_number
from .columns import Roles, negative_roles
from .files import ANCHOR, NEGATIVE, POSITIVE, TEXT, Table
from .findings import NUL, Findings
from .strings import Strings, Writer, encoded

MOST_CHARACTERS = 100_000
MOST_CLASSES = 1000  # a column of labels that is only guessed has fewer


@dataclass
class Column:
    """Texts as they come in, and how many characters each has."""

    writer: Writer = field(default_factory=Writer)
    lengths: array[int] = field(default_factory=lambda: array("q"))

    def append(self, text: str) -> None:
        """Take one more."""
        self.writer.append(text)
        self.lengths.append(len(text))


@dataclass(frozen=True)
class Gathered:
    """What the rows of a table held.

    Attributes:
        texts: strings by role.
        lengths: characters of each string, by role.
        labels, classes: as of `Source`.
        targets: (N,) float32 scores of pairs, or None.
        left_out: columns that were named like labels, and why they are none.
        domains: of each row, or None.
    """

    texts: dict[str, Strings]
    lengths: dict[str, np.ndarray]
    labels: np.ndarray | None
    classes: list[str]
    targets: np.ndarray | None
    left_out: dict[str, str]
    domains: list[Any] | None = None

    def facts(self) -> dict[str, Any]:
        """Lengths in characters of the texts that there are, and the range of scores."""
        facts: dict[str, Any] = {"lengths": {name: spread(lengths) for name, lengths in self.lengths.items()}}
        if self.targets is not None and len(self.targets):
            facts["targets"] = [float(self.targets.min()), float(self.targets.max())]
        return facts | ({"left_out": self.left_out} if self.left_out else {})


def spread(lengths: np.ndarray) -> dict[str, int]:
    """Quantiles of lengths above zero.

    Example:
        >>> spread(np.array([0, 1, 2, 9]))
        {'texts': 3, 'shortest': 1, 'median': 2, '95 %': 9, 'longest': 9}
    """
    known = lengths[lengths > 0]
    if not len(known):
        return {"texts": 0}
    names = ("shortest", "median", "95 %", "longest")
    values = np.quantile(known, (0, 0.5, 0.95, 1), method="higher")
    return {"texts": len(known)} | {name: int(value) for name, value in zip(names, values, strict=True)}


def settled(roles: Roles, table: Table, label_given: bool) -> Roles:
    """Roles once the cells have been seen: a label of pairs that is a number is a score, if it may be."""
    if not roles.paired or roles.label is None or roles.score is not None or label_given:
        return roles
    inferring = {name.strip().lower() for name in roles.texts.values()} >= {"premise", "hypothesis"}
    cells = [row[roles.label] for row in table.head() if row.get(roles.label) not in (None, "")]
    if inferring or roles.label in table.classes or not cells or not all(is_number(str(cell)) for cell in cells):
        return roles
    return replace(roles, label=None, score=roles.label)


def gather(
    table: Table,
    roles: Roles,
    found: Findings,
    most_characters: int = MOST_CHARACTERS,
    most_negatives: int | None = None,
    label_given: bool = False,
) -> Gathered:
    """Read all rows.

    A row without its text, or without the anchor, the positive or the score of a pair, goes to the findings, as does
    one that holds no text. Of several positives in one cell each makes a row. A list of negatives makes as many columns
    as the longest list is long.
    """
    columns = {role: Column() for role in roles.texts if not role.startswith(NEGATIVE)}
    negatives: list[Column] = []
    labels: list[Any] = []
    domains: list[Any] = []
    targets = array("d")
    for place, cells in table.walk(roles.columns, found):
        try:
            rows = list(_texts(cells, roles, place, found, most_characters))
            score = None if roles.score is None else _score(cells.get(roles.score))
        except ValueError as error:
            found.skip(place, str(error))
            continue
        for texts, far in rows:
            for role, column in columns.items():
                column.append(texts[role])
            for number, text in enumerate(far[:most_negatives]):
                if number == len(negatives):
                    negatives.append(Column())
                    for _ in labels:
                        negatives[-1].append("")
                negatives[number].append(text)
            for column in negatives[len(far) :]:
                column.append("")
            if score is not None:
                targets.append(score)
            labels.append(_named(cells, roles.label, table))
            domains.append(_named(cells, roles.domain, table))
    columns |= dict(zip(negative_roles(len(negatives)), negatives, strict=True))
    numbers, classes, left_out = _labels(labels, roles.label, f"{table.where}, column {roles.label!r}", label_given)
    return Gathered(
        {role: column.writer.strings() for role, column in columns.items()},
        {role: np.array(column.lengths, np.int64) for role, column in columns.items()},
        numbers,
        classes,
        None if roles.score is None else np.array(targets, np.float32),
        left_out,
        None if roles.domain is None else domains,
    )


def _named(cells: dict[str, Any], column: str | None, table: Table) -> Any:
    """A class in a row, by its name where the file says the names of its numbers."""
    value = None if column is None else cells.get(column)
    names = table.classes.get(column or "")
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value


def clean(value: Any, place: str, found: Findings, most_characters: int = MOST_CHARACTERS) -> str:
    """The text in a cell, without white space around it, "" where there is none.

    Raises:
        ValueError: it holds something else; says what.
    """
    if value is None:
        return ""
    if isinstance(value, float) and math.isnan(value):
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"a {type(value).__name__} where a text should be")
    text = str(value)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        found.note("halves of surrogates, read as �", place)
        text = encoded(text).decode()
    if "\0" in text:
        found.note(NUL, place)
        text = text.replace("\0", "")
    text = text.strip()
    if len(text) > most_characters:
        found.note(f"cut to {most_characters} characters", place)
        text = text[:most_characters].rstrip()
    return text


def _texts(
    cells: dict[str, Any], roles: Roles, place: str, found: Findings, most: int
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The texts of a row by role, and its negatives; once for each positive.

    Raises:
        ValueError: a text that must be there is not.
    """

    def texts_of(role: str) -> list[str]:
        value = cells.get(roles.texts[role])
        several = value if isinstance(value, list | tuple) else [value]
        return [text for text in (clean(item, place, found, most) for item in several) if text]

    if not roles.paired:
        text = clean(cells.get(roles.texts[TEXT]), place, found, most)
        title = "" if roles.title is None else clean(cells.get(roles.title), place, found, most)
        if not (text or title):
            raise ValueError("an empty row")
        yield {TEXT: f"{title} {text}".strip()}, []
        return
    anchors, positives = texts_of(ANCHOR), texts_of(POSITIVE)
    if not anchors and not positives:
        raise ValueError("an empty row")
    if len(anchors) != 1 or not positives:
        lacking = "anchor" if not anchors else "positive" if anchors and not positives else "one anchor but several"
        raise ValueError(f"no {lacking} ({roles.texts[POSITIVE if anchors else ANCHOR]})")
    given = [text for role in roles.texts if role.startswith(NEGATIVE) for text in texts_of(role)]
    far = [text for text in given if text != anchors[0] and text not in positives]
    if len(far) < len(given):
        found.note("a negative that is also the anchor or the positive of its row, left out", place)
    for positive in positives:
        yield {ANCHOR: anchors[0], POSITIVE: positive}, far


def _score(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        raise ValueError("no score")
    number = float(text) if is_number(text) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]!r} is no finite number, and scores are")
    return number


def _labels(
    cells: Sequence[Any], name: str | None, where: str, given: bool
) -> tuple[np.ndarray | None, list[str], dict[str, str]]:
    """Labels and their classes; none where a column that was only guessed does not hold classes, and why.

    Raises:
        DataError: the column was named and does not hold classes.
    """
    if name is None:
        return None, [], {}
    fault = ""
    known = [cell for cell in cells if cell is not None]
    if any(isinstance(cell, list | dict) for cell in known):
        fault = "lists, where a label is one text or whole number"
    elif any(isinstance(cell, float | str) and is_number(str(cell)) and float(cell) % 1 for cell in known):
        fault = "numbers that are not whole"
    if not fault:
        labels, classes = encode_labels(cells, where)
        if given or len(classes) < MOST_CLASSES:
            return labels, classes, {}
        fault = f"{len(classes)} different values, too many to be taken for classes unasked"
    if given:
        raise DataError(f"{where}: labels are classes, and these are {fault}; name another column (label_column)")
    return None, [], {name: fault}
