"""Labels as people write them, turned into numbers with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.errors import DataError

UNKNOWN = -1


def encode_labels(values: Sequence[Any] | np.ndarray, where: str = "labels") -> tuple[np.ndarray, list[str]]:
    """Number the classes found in a column of labels.

    Classes are sorted by value when all are whole numbers, otherwise by text. `None`, blank text and NaN mean
    "unknown"; so does -1 among whole numbers. Unknown becomes -1.

    Args:
        values: N labels: whole numbers, texts, or a mixture with blanks.
        where: what an error message calls this column.

    Returns:
        labels (N,) int64 in -1 .. K-1, and the K class names.

    Raises:
        DataError: when the only labels are -1 and 1, where -1 could be a class as well as "unknown".

    Example:
        >>> labels, classes = encode_labels(["10", "9", "", "10"])
        >>> labels.tolist(), classes
        ([1, 0, -1, 1], ['9', '10'])
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        distinct, inverse = np.unique(values, return_inverse=True)
        texts = [str(number) for number in distinct]
    else:
        column = [_text(value) for value in values]
        texts = sorted(set(column))
        position = {text: number for number, text in enumerate(texts)}
        inverse = np.array([position[text] for text in column], dtype=np.int64)

    classes = [text for text in texts if text]
    if all(_is_whole_number(text) for text in classes):
        if set(classes) == {"-1", "1"}:
            raise DataError(
                f"{where}: the only labels are -1 and 1, and -1 means 'unknown' here. "
                "Write 0 and 1 for two classes, or leave unknown labels blank."
            )
        classes = sorted((text for text in classes if text != str(UNKNOWN)), key=int)
    number_of = {text: number for number, text in enumerate(classes)}
    table = np.array([number_of.get(text, UNKNOWN) for text in texts], dtype=np.int64)
    return table[inverse.reshape(-1)], classes


def renumber(labels: np.ndarray, classes: Sequence[str], target: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Express labels in the numbering of `target`, which is extended by the classes that it lacks.

    Example:
        >>> renumber(np.array([0, 1, -1]), ["bird", "cat"], ["cat", "dog"])
        (array([ 2,  0, -1]), ['cat', 'dog', 'bird'])
    """
    merged = [*target, *(name for name in classes if name not in set(target))]
    number_of = {name: number for number, name in enumerate(merged)}
    table = np.array([*(number_of[name] for name in classes), UNKNOWN], dtype=np.int64)
    return table[labels], merged


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))  # a column of whole numbers with blanks is often stored as floats
    return str(value).strip()


def _is_whole_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(text)) == text
