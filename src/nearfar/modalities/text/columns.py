"""Which column holds what: the texts of an item, its label, its score; told from their names, or as the user says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nearfar.errors import DataError

from ..peek import is_number
from .files import ANCHOR, NEGATIVE, POSITIVE, TEXT

# In each list the surer names come first. A name of a pair counts only where its other half is there, too.
TEXTS = (
    *(
        "text",
        "sentence",
        "content",
        "body",
        "review",
        "comment",
        "tweet",
        "message",
        "passage",
        "document",
        "utterance",
    ),
    *("gloss", "definition", "abstract", "texts", "sentences"),
)
ANCHORS = (
    *("anchor", "query", "question", "sentence1", "sentence_1", "sentence_a", "text1", "text_1", "text_a", "premise"),
    *("sent0", "question1", "source", "s1"),
)
POSITIVES = (
    *("positive", "pos", "positive_passages", "document", "passage", "answer", "response", "sentence2", "sentence_2"),
    *("sentence_b", "text2", "text_2", "text_b", "entailment", "hypothesis", "sent1", "question2", "paraphrase"),
    *("target", "s2", "context", "text"),
)
NEGATIVE_NAMES = re.compile(r"(hard_?)?(neg|negative)s?(_?(passage|document)s?)?(_?\d+)?|contradiction")
SCORES = ("score", "similarity", "similarity_score", "sim", "relatedness", "relatedness_score", "gold_score", "grade")
LABELS = ("label", "class", "category", "labels", "target", "topic", "intent", "coarse_label", "label_text")
IDS = ("_id", "id", "docid", "doc_id", "document_id", "corpus_id", "pid", "qid", "query_id")
TITLE = "title"
SURE = ("text", "sentence", "anchor", "query", "positive", "sentence1", "sentence2", "premise")
SHARE_OF_TEXTS = 0.5  # so many cells of such a column must hold words, of the others several, for a table of texts


@dataclass(frozen=True)
class Wishes:
    """Columns that the user named; None where they are to be found."""

    text_column: str | None = None
    anchor_column: str | None = None
    positive_column: str | None = None
    negative_columns: Sequence[str] | None = None
    score_column: str | None = None
    label_column: str | None = None
    domain_column: str | None = None


@dataclass(frozen=True)
class Roles:
    """The columns of a table by what they hold.

    Attributes:
        texts: columns of the file by role: "text", or "anchor", "positive" and "negative", "negative_2" ...
        label: that of the labels, or None.
        domain: that of the domains, or None.
        score: that of the scores, or None.
        title: one that stands before the text of a document, or None.
    """

    texts: dict[str, str]
    label: str | None = None
    score: str | None = None
    title: str | None = None
    domain: str | None = None

    @property
    def paired(self) -> bool:
        """Whether an item has an anchor and a positive."""
        return ANCHOR in self.texts

    @property
    def columns(self) -> list[str]:
        """Every column that is needed."""
        more = [name for name in (self.label, self.score, self.title, self.domain) if name is not None]
        return list(dict.fromkeys([*self.texts.values(), *more]))


def roles_of(names: Sequence[str], wishes: Wishes, where: str) -> Roles:
    """Tell what the columns of a table hold.

    Names that are looked for: those of pairs (anchor and positive, query and document, sentence1 and sentence2,
    premise and hypothesis, ...) with negatives (negative, negative_1, hard_neg, ...); else one of texts (text,
    sentence, content, ...); else the only column that there is. Scores belong to pairs, and so does a label that is
    a number.

    Raises:
        DataError: a column that is named is not there, or none is recognised; lists those that are there.

    Example:
        >>> roles_of(["query", "answer", "hard_negative_1", "id"], Wishes(), "t.csv").texts
        {'anchor': 'query', 'positive': 'answer', 'negative': 'hard_negative_1'}
        >>> roles_of(["Sentence", "category"], Wishes(), "t.csv")
        Roles(texts={'text': 'Sentence'}, label='category', score=None, title=None, domain=None)
    """
    _check(names, wishes, where)
    spelt = {plain_name(name): name for name in reversed(names)}
    taken = {name for name in (wishes.label_column, wishes.score_column, wishes.domain_column) if name}
    free = {plain: name for plain, name in spelt.items() if name not in taken}
    texts = _texts(free, names, wishes)
    if texts is None:
        raise DataError(_nothing(where, names))
    if wishes.score_column and ANCHOR not in texts:
        raise DataError(
            f"{where}: score_column {wishes.score_column!r}: scores belong to pairs, and these are single texts; name "
            "anchor_column and positive_column"
        )
    used = {*texts.values(), wishes.domain_column}

    def chosen(wanted: str | None, known: Sequence[str]) -> str | None:
        if wanted is not None:
            return wanted or None
        return next((spelt[name] for name in known if name in spelt and spelt[name] not in used), None)

    score = chosen(wishes.score_column, SCORES if ANCHOR in texts else ())
    label = chosen(wishes.label_column, [name for name in LABELS if spelt.get(name) != score])
    titled = TEXT in texts and plain_name(texts[TEXT]) == TEXT and any(name in spelt for name in IDS)
    return Roles(texts, label, score, spelt.get(TITLE) if titled else None, wishes.domain_column)


def looks_like_texts(names: Sequence[str], head: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first rows of a table make it one of texts: it has a column of their names that holds words."""
    try:
        texts = roles_of(names, Wishes(), "").texts
    except DataError:
        return False
    known = {*TEXTS, *ANCHORS, *POSITIVES}
    for name in texts.values():
        cells = [str(row[name]) for row in head if row.get(name) is not None and str(row[name]).strip()]
        words = 1 if plain_name(name) in SURE else 2
        worded = sum(len(cell.split()) >= words and not is_number(cell) for cell in cells)
        if plain_name(name) in known and cells and worded >= SHARE_OF_TEXTS * len(cells):
            return True
    return False


def _texts(spelt: dict[str, str], names: Sequence[str], wishes: Wishes) -> dict[str, str] | None:
    """The columns of texts by role, None where there are none."""
    if wishes.text_column is not None:
        return {TEXT: wishes.text_column}
    anchor = wishes.anchor_column or _first(spelt, ANCHORS)
    positive = wishes.positive_column or _first({p: n for p, n in spelt.items() if n != anchor}, POSITIVES)
    if anchor is not None and positive is not None and anchor != positive:
        negatives = wishes.negative_columns
        if negatives is None:
            negatives = [n for n in names if NEGATIVE_NAMES.fullmatch(plain_name(n)) and n in spelt.values()]
        negatives = [name for name in negatives if name not in (anchor, positive)]
        return {ANCHOR: anchor, POSITIVE: positive} | dict(zip(negative_roles(len(negatives)), negatives, strict=True))
    if wishes.anchor_column is not None or wishes.positive_column is not None:
        return None
    text = _first(spelt, (*TEXTS, *ANCHORS, *POSITIVES))
    if text is None and len(names) == 1:
        text = names[0]
    return None if text is None else {TEXT: text}


def negative_roles(count: int) -> list[str]:
    """What columns of negatives are called: "negative", "negative_2", "negative_3", ..."""
    return [NEGATIVE if place == 1 else f"{NEGATIVE}_{place}" for place in range(1, count + 1)]


def _first(spelt: dict[str, str], known: Sequence[str]) -> str | None:
    return next((spelt[name] for name in known if name in spelt), None)


def plain_name(name: str) -> str:
    """A name of a column as the lists of known names spell it: "Query-ID" is query_id."""
    return re.sub(r"[\s\-./]+", "_", name.strip().lower())


def _check(names: Sequence[str], wishes: Wishes, where: str) -> None:
    """Refuse names of columns that the table does not have."""
    for setting, value in vars(wishes).items():
        for name in value if isinstance(value, list | tuple) else [value]:
            if name and name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise DataError(f"{where}: no column {name!r} ({setting}){hint} Columns there are: {_listed(names)}")


def _nothing(where: str, names: Sequence[str]) -> str:
    return (
        f"{where}: no column of texts is recognised. Columns there are: {_listed(names)}. Name one with text_column, "
        f"or two with anchor_column and positive_column; known are {', '.join(TEXTS[:4])}, ... and pairs such as "
        f"{ANCHORS[0]} and {POSITIVES[0]}, {ANCHORS[1]} and {POSITIVES[3]}, {ANCHORS[3]} and sentence2"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name if len(name) <= 40 else f"{name[:40]}..." for name in names)


def task_of(columns: Sequence[str], graded: bool, labelled: bool) -> str:
    """What some columns of texts are, in words.

    >>> task_of(["anchor", "positive", "negative"], graded=False, labelled=False)
    'pairs with negatives'
    """
    named = "texts" if len(columns) == 1 else "graded pairs" if graded else "pairs"
    more = ["negatives"] if len(columns) > 2 else []
    more += ["labels"] if labelled else []
    return f"{named} with {' and '.join(more)}" if more else named
