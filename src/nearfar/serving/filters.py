"""Filters that others may send: comparisons of columns with values, and nothing else that SQL can do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .refusals import Refused

LONGEST = 1000  # characters
_DEEPEST = 20  # brackets in brackets
_MOST = 200  # words
_WORDS = frozenset(["and", "or", "not", "in", "like", "ilike", "is", "null", "between", "true", "false"])
_BEFORE_BRACKET = frozenset(("and", "or", "not", "in", "(", ""))
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*')
  | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
  | `(?P<column>[^`]+)`
  | (?P<word>[^\W\d]\w*)
  | (?P<sign><=|>=|<>|!=|=|<|>|,)
  | (?P<bracket>[()])
    )\s*""",
    re.VERBOSE,
)


def checked(where: str, columns: Iterable[str]) -> str:
    """A filter that may go to the store.

    Lance takes expressions of SQL: it runs no statements and no queries in queries, but it has functions, which can
    make gigabytes of text out of one row. Only columns, values, comparisons, LIKE, IN, BETWEEN, IS NULL, AND, OR, NOT
    and brackets pass.

    Args:
        where: the filter.
        columns: which it may use.

    Raises:
        Refused: something else stands in it, or it is too long.

    >>> checked("label = 'cat' AND (year > 2000 OR year IS NULL)", ["label", "year"])
    "label = 'cat' AND (year > 2000 OR year IS NULL)"
    """
    known = list(columns)
    if len(where) > LONGEST:
        raise Refused(400, f"a filter has at most {LONGEST} characters, not {len(where)}")
    place = depth = count = 0
    before = ""
    while place < len(where):
        found = _TOKEN.match(where, place)
        if found is None or "\0" in where:
            raise _refusal(f"what stands at character {place + 1} cannot be used")
        place, count = found.end(), count + 1
        word, column = found["word"], found["column"]
        if column is None and word is not None and word.lower() not in _WORDS:
            column = word
        if column is not None and column not in known:
            raise _refusal(f"there is no column {column!r} to filter by; there are {', '.join(known) or 'none'}")
        if found["bracket"] == "(":
            if before not in _BEFORE_BRACKET:
                raise _refusal(f"functions cannot be used, such as that at character {place}")
            depth += 1
        elif found["bracket"] == ")":
            depth -= 1
        if not 0 <= depth <= _DEEPEST or count > _MOST:
            raise _refusal("its brackets do not match" if depth < 0 else "it is too deep or has too many words")
        before = (word or found["bracket"] or "value").lower() if column is None else "column"
    if depth or not count:
        raise _refusal("its brackets do not match" if depth else "it is empty")
    return where


def _refusal(why: str) -> Refused:
    return Refused(400, f"the filter cannot be used: {why}; write one as in: label = 'cat' AND year > 2000")
