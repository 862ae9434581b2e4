"""Queries, documents and what is relevant to what: folders as in BEIR, judgments as in BEIR or TREC."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nearfar.errors import DataError

from ..archives import printable
from .columns import ANCHORS, IDS, TEXTS, TITLE, plain_name
from .files import ANCHOR, POSITIVE, TEXT, open_table
from .findings import Findings, Policy
from .items import ids_of_pairs, ids_of_texts
from .judgments import QRELS, find_split, read_judgments, split_of, splits_of
from .parts import CORPUS, find_file, find_queries
from .rows import MOST_CHARACTERS, Column, clean, spread
from .source import TextSource


@dataclass(frozen=True, repr=False)
class Collection:
    """Queries to search with, documents to search in, and R judgments.

    Attributes:
        queries: the queries that the split judges, in the order of their file; `names` are their ids.
        documents: all documents; `names` are their ids.
        query_rows: (R,) int64, rows of `queries`, ascending.
        document_rows: (R,) int64, rows of `documents`.
        grades: (R,) int64, how relevant; 0 or less says that it was looked at and is not.
        split: which judgments these are, such as "test".
        facts: counts, lengths, and what was found wrong, as JSON.
    """

    queries: TextSource
    documents: TextSource
    query_rows: np.ndarray
    document_rows: np.ndarray
    grades: np.ndarray
    split: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = f"{len(self.queries)} queries, {len(self.documents)} documents, {len(self.grades)} judgments"
        return f"Collection({sizes} of {self.split!r})"

    def describe(self) -> dict[str, Any]:
        """JSON-able facts: kind of task, counts, splits there are, grades, lengths, and what was left out."""
        return {"kind": "text", "task": "collection", "split": self.split, **self.facts}


def read_collection(
    path: str | Path,
    *,
    split: str | None = None,
    policy: Policy = "skip",
    duplicates: Literal["same-id", "own-id"] = "same-id",
    encoding: str | None = None,
    most_characters: int = MOST_CHARACTERS,
) -> Collection:
    """Read a collection with the judgments of one split.

    A folder holds

    - `corpus` (.jsonl, .csv, .tsv, .parquet, ..., also compressed): `_id`, `text` and perhaps `title`, which is put
      before the text;
    - `queries`: `_id` and `text`; or a file for each split, such as `queries.train.tsv`;
    - `qrels/train.tsv`, `qrels/test.tsv`, ... (or `qrels.tsv`, `qrels.test.txt` beside the others): query, document and
      grade in each line, with or without a header; or as in TREC query, a number, document and grade.

    Tables of two columns, the first of them numbers, need no header: they are ids and texts, as MS MARCO has them.

    An id that a second document or query has, an empty text, and a judgment that names an unknown id or comes a second
    time are left out and listed, or refused, as `policy` says.

    Args:
        split: "train" or "test", which also find "dev", "val", "validation"; or the name of a file of judgments; the
            test split, or the only one, when None.
        policy, duplicates, encoding, most_characters: as of `reading.read`.

    Raises:
        DataError: a file, a column or the split is missing, or no judgment is left.
    """
    folder = Path(path).expanduser()
    corpus, judged = find_file(folder, CORPUS), splits_of(folder)
    asking = find_queries(folder, split_of(judged, split, folder) if judged else None)
    if corpus is None or asking is None or not judged:
        lacking = [name for name, there in (("corpus", corpus), ("queries", asking), (QRELS, judged)) if not there]
        raise DataError(
            f"{printable(folder)}: no collection: it has no {' and no '.join(lacking)}. A collection is a folder with "
            "corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )
    chosen = split_of(judged, split, folder)
    found = Findings(policy)
    document_names, documents = _entries(corpus, encoding, found, most_characters)
    query_names, queries = _entries(asking, encoding, found, most_characters)
    known = (
        {name: row for row, name in enumerate(query_names)},
        {name: row for row, name in enumerate(document_names)},
    )
    judgments, unknown = read_judgments(judged[chosen], encoding, found, known, (asking.name, corpus.name))
    if not len(judgments):
        first = f"; the first fault: {found.skipped[-1].name}: {found.skipped[-1].reason}" if found.skipped else ""
        raise DataError(f"{printable(judged[chosen])}: no judgment of a query and a document that there are{first}")
    judgments = judgments[np.argsort(judgments[:, 0], kind="stable")]
    rows, places = np.unique(judgments[:, 0], return_inverse=True)
    asked = queries.writer.strings()[rows]
    texts = documents.writer.strings()
    found.report(printable(folder), len(texts) + len(asked) + len(judgments))
    grades, counts = np.unique(judgments[:, 2], return_counts=True)
    facts = {
        "path": printable(folder),
        "splits": sorted(judged),
        "parts": {part: name for part in ("train", "test") if (name := find_split(judged, part)) is not None},
        "queries": len(asked),
        "queries_not_judged": len(query_names) - len(rows),
        "documents": len(texts),
        "judgments": len(judgments),
        "grades": {str(grade): int(count) for grade, count in zip(grades, counts, strict=True)},
        "unknown": unknown,
        "lengths": {
            "query": spread(np.array(queries.lengths)[rows]),
            "document": spread(np.array(documents.lengths)),
        },
        "changed": found.facts(),
        "skipped": len(found.skipped),
    }

    def source(strings: Any, names: list[str], what: str) -> TextSource:
        ids = ids_of_texts(strings) if duplicates == "same-id" else None
        details = {"path": printable(folder), "part": chosen, "task": what}
        return TextSource({TEXT: strings}, ids=ids, names=names, skipped=found.skipped, details=details)

    return Collection(
        source(asked, [query_names[row] for row in rows], "queries"),
        source(texts, document_names, "documents"),
        places.reshape(-1).astype(np.int64),
        judgments[:, 1],
        judgments[:, 2],
        chosen,
        facts,
    )


def pairs_of(collection: Collection, duplicates: Literal["same-id", "own-id"] = "same-id") -> TextSource:
    """Each query with each document that is relevant to it (grade 1 or more), as pairs to learn from.

    Raises:
        DataError: there is no such document.
    """
    relevant = collection.grades > 0
    if not relevant.any():
        raise DataError(f"{collection.facts['path']}: no document is relevant in the split {collection.split!r}")
    anchors = collection.queries.columns[TEXT][collection.query_rows[relevant]]  # type: ignore[call-overload]
    positives = collection.documents.columns[TEXT][collection.document_rows[relevant]]  # type: ignore[call-overload]
    return TextSource(
        {ANCHOR: anchors, POSITIVE: positives},
        ids=ids_of_pairs(anchors, positives) if duplicates == "same-id" else None,
        skipped=collection.queries.skipped,
        details={"part": collection.split, **collection.facts, "task": "pairs"},
    )


def _entries(path: Path, encoding: str | None, found: Findings, most: int) -> tuple[list[str], Column]:
    """The ids of documents or queries, and their texts."""
    table = open_table(path, encoding, unnamed=(IDS[0], TEXT))
    spelt = {plain_name(name): name for name in reversed(table.names)}
    place_of_id = next((spelt[name] for name in IDS if name in spelt), None)
    text_name = next((spelt[name] for name in (*TEXTS, *ANCHORS) if name in spelt), None)
    if place_of_id is None or text_name is None:
        raise DataError(
            f"{table.where}: no column {'_id' if place_of_id is None else 'text'}. Columns there are: "
            f"{', '.join(table.names)}; documents and queries have _id and text"
        )
    title = spelt.get(TITLE)
    names, texts, seen = list[str](), Column(), set[str]()
    for place, cells in table.walk([name for name in (place_of_id, text_name, title) if name], found):
        name = "" if cells.get(place_of_id) is None else str(cells[place_of_id]).strip()
        try:
            parts = [clean(cells.get(column), place, found, most) for column in (title, text_name) if column]
        except ValueError as error:
            found.skip(place, str(error))
            continue
        text = " ".join(part for part in parts if part)
        if not name or not text:
            found.skip(place, "no id" if text else f"{name!r} has no text" if name else "an empty row")
        elif name in seen:
            found.skip(place, f"the id {name!r} stands before; the first is kept")
        else:
            seen.add(name)
            names.append(name)
            texts.append(text)
    if not names:
        raise DataError(f"{table.where}: no row with an id and a text")
    return names, texts
