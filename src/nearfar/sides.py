"""The two sides of a mining, from files: what asks, what is searched, what is known to be near, and their vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import modalities, starting
from .data.source import Source
from .errors import ConfigError, DataError
from .mining import Near, open_vectors
from .modalities import Searchable
from .models.digest import digest
from .opening import open_run
from .run import Run, recognised, shown
from .training.checkpoint import write_whole

TEXT = "text"  # the modality whose queries and documents are looked up by what they say
VECTORS = (".npy", ".npz")
CHUNK = 8192  # rows that are embedded before they are written


@dataclass
class Sides:
    """Q queries and N documents.

    Attributes:
        query_ids, document_ids: their names, all different on each side.
        queries, corpus: where they are read from: sources of a modality, or (N, D) vectors.
        query_texts, document_texts: where they are texts.
        near: (P, 2) rows of known pairs, None where nothing is known.
    """

    query_ids: Sequence[str]
    document_ids: Sequence[str]
    queries: Source | np.ndarray
    corpus: Source | np.ndarray
    query_texts: Sequence[str] | None = None
    document_texts: Sequence[str] | None = None
    near: np.ndarray | None = None

    def known(self) -> Near | None:
        """The known pairs as mining takes them."""
        return None if self.near is None else Near(self.near, len(self.query_ids), len(self.document_ids))


@dataclass
class Embedder:
    """A run or an encoder by name, which turns sources into vectors that are kept in a folder.

    Rows are embedded in chunks, and each is on disk before the next: an interrupted work goes on where it was.
    """

    run: Run
    folder: Path
    batch_size: int = 512
    progress: bool | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = digest(self.run.method.encoder.state_dict())

    def vectors(self, source: Source, what: str) -> np.ndarray:
        """(N, D) float32 vectors of a source, in a file of the folder."""
        prompts = self.run.options.model_dump_json()
        key = hashlib.sha256(f"{self.name} {prompts} {source.fingerprint()}".encode()).hexdigest()
        path = self.folder / f"{what}-{key[:16]}.npy"
        count = path.with_suffix(".json")
        self.folder.mkdir(parents=True, exist_ok=True)
        done = json.loads(count.read_text()) if count.is_file() and path.is_file() else 0
        size = max(1, CHUNK // self.batch_size) * self.batch_size
        while done < len(source):
            rows = np.arange(done, min(done + size, len(source)))
            found = self.run.vectors_of(self.run.method, source.select(rows), self.progress, self.batch_size)
            shape = (len(source), found.shape[1])
            table = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float32, None if done else shape)
            table[rows] = found
            table.flush()
            done += len(rows)
            write_whole(count, json.dumps(done).encode())
        return open_vectors(path, what)


def read_sides(
    run: str | Path | None,
    corpus: str | Path,
    queries: str | Path | None,
    positives: str | Path | None = None,
    split: str | None = None,
    modality: str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> tuple[Sides, Run | None]:
    """Read both sides, and open what embeds them: None where they are vectors.

    Raises:
        DataError: nothing there, nothing readable, positives of unknown ids only. ConfigError: what does not go
        together.
    """
    corpus, queries = Path(corpus).expanduser(), None if queries is None else Path(queries).expanduser()
    for path in (corpus, queries, positives):
        if path is not None and not Path(path).expanduser().exists():
            raise DataError(f"there is no {path}")
    if corpus.suffix in VECTORS:
        sides = _of_vectors(corpus, queries)
        if run is not None:
            raise ConfigError(f"{corpus} holds vectors, which need no run; give - in its place")
        return _with_positives(sides, positives), None
    if run is None:
        raise ConfigError(f"{corpus} holds no vectors (.npy, .npz); say which run or encoder embeds it")
    if starting.is_run(run):
        made = Run.load(run).reading(**options)
        kind, chosen = made.modality, made.options
    else:
        kind = modalities.find(modality) if modality else recognised(corpus, dict(options))
        chosen = kind.Options(**options)
    if kind.name == TEXT:
        sides = _of_texts(kind, corpus, queries, chosen, split, progress)
    else:
        sides = _of_sources(kind, corpus, queries, chosen, progress)
    assert isinstance(sides.corpus, Source)
    opened = open_run(run, sides.corpus, modality=kind.name, **options)
    return _with_positives(sides, positives), opened


def _of_vectors(corpus: Path, queries: Path | None) -> Sides:
    if queries is None or queries.suffix not in VECTORS:
        raise ConfigError(f"{corpus} holds vectors, so the queries are vectors too (.npy, .npz), not {queries}")
    tables = open_vectors(queries, "queries"), open_vectors(corpus, "corpus")
    return Sides(_names(queries, len(tables[0])), _names(corpus, len(tables[1])), *tables)


def _names(path: Path, count: int) -> list[str]:
    """Names of an .npz of `nearfar embed` where no two are equal, else row numbers."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            names = archive["names"].astype(str).tolist() if "names" in archive.files else []
        if len(names) == count == len(set(names)):
            return [str(name) for name in names]
    return [str(row) for row in range(count)]


def _of_sources(kind: Any, corpus: Path, queries: Path | None, options: Any, progress: bool | None) -> Sides:
    if queries is None:
        raise ConfigError(f"what is searched in {corpus}? Give the queries too")
    one, other = (kind.read_pair(path, options, None, None, shown(progress))[0] for path in (queries, corpus))
    ids = [
        list(source.names) if len(set(source.names)) == len(source) else [str(row) for row in range(len(source))]
        for source in (one, other)
    ]
    return Sides(ids[0], ids[1], one, other)


def _of_texts(
    kind: Any, corpus: Path, queries: Path | None, options: Any, split: str | None, progress: bool | None
) -> Sides:
    found = None if queries is not None else kind.collection(corpus, options, split or "train")
    if found is not None:
        return _of_collection(found)
    if split is not None:
        raise ConfigError(f"split is for a folder of corpus, queries and qrels, which {corpus} is not")
    asked = kind.read_pair(queries or corpus, options, None, None, shown(progress))[0]
    if queries is None and "positive" not in asked.columns:
        raise ConfigError(f"{corpus} holds no pairs of anchor and positive, so that it needs queries; give them too")
    searched = None if queries is None else kind.read_pair(corpus, options, None, None, shown(progress))[0]
    asking = list(next(iter(asked.columns.values())))
    documents = [] if searched is None else list(next(iter(searched.columns.values())))
    query_rows: dict[str, int] = {}
    places = [query_rows.setdefault(text, len(query_rows)) for text in asking]
    near = None
    if "positive" in asked.columns:
        rows: dict[str, int] = {}
        for row, text in enumerate(documents):
            rows.setdefault(text, row)
        answers = list(asked.columns["positive"])
        for text in answers:
            if rows.setdefault(text, len(documents)) == len(documents):
                documents.append(text)
        near = np.array([[row, rows[text]] for row, text in zip(places, answers, strict=True)], dtype=np.int64)
    return _texts([str(row) for row in range(len(query_rows))], list(query_rows),
                  [str(row) for row in range(len(documents))], documents, near)  # fmt: skip


def _of_collection(found: Searchable) -> Sides:
    relevant = found.grades > 0
    near = np.stack([found.query_rows[relevant], found.document_rows[relevant]], axis=1)
    texts = [list(next(iter(source.columns.values()))) for source in (found.queries, found.documents)]  # type: ignore[attr-defined]
    return _texts(list(found.queries.names), texts[0], list(found.documents.names), texts[1], near)


def _texts(query_ids: list[str], queries: list[str], ids: list[str], documents: list[str], near: Any) -> Sides:
    from .modalities.text.source import TextSource

    # The names of the columns say which prompt stands before the texts.
    sources = {name: TextSource({name: texts}) for name, texts in (("query", queries), ("document", documents))}
    return Sides(query_ids, ids, sources["query"], sources["document"], queries, documents, near)


def _with_positives(sides: Sides, positives: str | Path | None) -> Sides:
    """The same with the pairs of a file: query, document and perhaps a grade in each line."""
    if positives is None:
        return sides
    from .modalities.text.findings import Findings
    from .modalities.text.judgments import read_judgments

    path = Path(positives).expanduser()
    known = (
        {name: row for row, name in enumerate(sides.query_ids)},
        {n: row for row, n in enumerate(sides.document_ids)},
    )
    found = Findings("skip")
    judged, _ = read_judgments(path, None, found, known, ("the queries", "the corpus"))
    judged = judged[judged[:, 2] > 0]
    if not len(judged):
        first = (
            f"; the first line left out: {found.skipped[0].name}: {found.skipped[0].reason}" if found.skipped else ""
        )
        raise DataError(f"{path}: no pair of a query and a document that there are{first}")
    found.report(str(path), len(judged))
    near = judged[:, :2]
    sides.near = near if sides.near is None else np.concatenate([sides.near, near])
    return sides
