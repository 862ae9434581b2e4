"""From data to a store and from a question to its answer: what the commands embed --store and search do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from .data.names import Ids, ids_of
from .data.source import Source
from .errors import ConfigError, DataError
from .models.digest import digest
from .opening import Untrained
from .report.pictures import encoded, picture
from .run import Run, shown
from .store import Hit, Provenance, Store
from .store.lexical import fused
from .store.place import is_store, place_of

BLOCK = 4096  # rows that are embedded before they are written
Rerank = Callable[[str, Sequence[Hit]], Sequence[float]]
COLUMNS = {"name": "string", "label": "string", "text": "string", "digest": "string", "data": "string"}
THUMBNAIL = "thumbnail"  # column of the files of small pictures, in stores of images
_LARGEST = 96  # pixels of their longer side


@dataclass(frozen=True)
class Stored:
    """What was done: the store, and how many rows were new, had changed, or were there as they are."""

    store: Store
    added: int
    changed: int
    kept: int


def embed_into(
    run: Run,
    source: Source,
    path: str | Path,
    *,
    ids: Ids = "auto",
    batch_size: int = 512,
    block: int = BLOCK,
    progress: bool | None = None,
    exact: bool = False,
    cluster: bool = False,
) -> Stored:
    """Embed data into a store, block by block; rows that are there with the same content are not embedded again.

    Each block is on disk, whole or not at all, before the next is embedded. After whatever ended it, the same call goes
    on: no row is lost and none stands there twice. Rows of a known id and other content take the place of the old ones.

    Args:
        run: what embeds: a run, or an encoder by name (`nearfar.opening.open_run`).
        source: the data.
        path: folder or address of the store, which is made where there is none.
        ids: "name" calls rows by their names, "content" by a hash of what they are; "auto" takes names unless they were
            cut from the content, as those of texts without a name are. The n-th row of one name ends in #n.
        batch_size: rows that the encoder takes at a time.
        block: rows that are written at a time.
        exact: as of `Run.embed`.
        cluster: let Ray embed blocks on all machines of its cluster (`nearfar.spreading`); they are written here.

    Raises:
        ConfigError: the store holds vectors of another model, or another process writes. DataError: the encoder gives
        NaN, or the store is damaged. NearfarError: the disk is full.
    """
    path = place_of(path)
    made = Store.open(path) if is_store(path) else None
    origin = provenance_of(run)
    if made is not None:
        made.provenance.require(origin, str(path))
    elif isinstance(path, Path) and path.is_file():
        raise ConfigError(f"{path} is a file; choose another place for the store")
    own = ids_of(source, ids)
    if made is None:
        width: Any = run.method.encoder.width
        seen = isinstance(run.modality.pictures(source, np.arange(1)), np.ndarray)
        made = Store.create(path, width, origin, {**COLUMNS, **({THUMBNAIL: "binary"} if seen else {})})
    data = source.fingerprint()
    with made.locked():
        _note(made, source, data)
        work = Work(run, source, batch_size, exact, THUMBNAIL in made.columns)
        return _write(made, work, own, data[:16], max(1, block // batch_size) * batch_size, shown(progress), cluster)


@dataclass(frozen=True)
class Part:
    """Rows of the data, and the digests of those that are in the store already (None for others)."""

    rows: np.ndarray
    known: list[str | None]


@dataclass(frozen=True)
class Made:
    """What a part came to: which rows are to be written, whether each is new, their vectors and columns."""

    rows: np.ndarray
    new: np.ndarray
    vectors: np.ndarray
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class Work:
    """Embeds those rows of a part that are new or have changed."""

    run: Run
    source: Source
    batch_size: int
    exact: bool
    thumbnails: bool

    def __call__(self, part: Part) -> Made:
        """Those rows, with their vectors and columns."""
        now = self.source.digests(part.rows)
        chosen = np.array([one != other for one, other in zip(now, part.known, strict=True)], dtype=bool)
        new = np.array([one is None for one in part.known], dtype=bool)
        rows = part.rows[chosen]
        if not len(rows):
            return Made(rows, new[chosen], np.empty((0, 0), np.float32), {})
        some = self.source.select(rows)
        vectors = self.run.vectors_of(self.run.method, some, False, self.batch_size, exact=self.exact)
        columns = {**_columns(some), "digest": [one for one, take in zip(now, chosen, strict=True) if take]}
        if self.thumbnails:
            columns[THUMBNAIL] = _thumbnails(self.run, some)
        return Made(rows, new[chosen], vectors, columns)


def _write(store: Store, work: Work, own: list[str], data: str, block: int, progress: bool, cluster: bool) -> Stored:
    import pyarrow as pa
    import pyarrow.compute as pc

    there = pc.index_in(pa.array(own, pa.string()), value_set=store.column("id"))
    known = store.column("digest").combine_chunks().take(there).to_pylist()
    # An empty text for a row without a digest, which rows of an import are.
    known = [one if place is None else one or "" for one, place in zip(known, there.to_pylist(), strict=True)]
    parts = [
        Part(np.arange(start, min(start + block, len(own))), known[start : start + block])
        for start in range(0, len(own), block)
    ]
    if cluster:
        from .spreading import spread

        results: Iterator[Made] = spread(work, parts)
    else:
        results = map(work, parts)
    added = changed = 0
    with tqdm(total=len(own), unit=" items", disable=not progress, desc="embedding") as bar:
        for part, made in zip(parts, results, strict=True):
            for chosen, write in ((made.new, store.add), (~made.new, store.upsert)):
                if chosen.any():
                    columns = {
                        name: [one for one, take in zip(values, chosen, strict=True) if take]
                        for name, values in made.columns.items()
                    }
                    columns["data"] = [data] * int(chosen.sum())
                    write([own[row] for row in made.rows[chosen]], made.vectors[chosen], columns)
            added, changed = added + int(made.new.sum()), changed + int((~made.new).sum())
            bar.update(len(part.rows))
    return Stored(store, added, changed, len(own) - added - changed)


def provenance_of(run: Run) -> Provenance:
    """The origin of what a run embeds."""
    return Provenance(
        weights=digest(run.method.encoder.state_dict()),
        encoder=run.config["encoder"],
        modality=run.modality.name,
        run=str(run.path.resolve()) if run.trained else "",
        config=run.config,
    )


def encoder_of(store: Store) -> Run:
    """The run or the encoder that made the vectors of a store.

    Raises:
        ConfigError: it is gone, has other weights now, or nobody knows what made them.
    """
    origin = store.provenance
    if not origin.config:
        raise ConfigError(f"{store.path} holds {origin.sentence()}, so that words cannot be embedded; search by --id")
    if origin.run:
        if not Path(origin.run).is_dir():
            raise ConfigError(
                f"{origin.run}, whose vectors {store.path} holds, is gone; put it back to search by words"
            )
        run = Run.load(origin.run).reading(**origin.config["options"])
    else:
        run = Untrained(origin.config, (Source("", np.empty(0), []), None))
    now = digest(run.method.encoder.state_dict())
    if now != origin.weights:
        raise ConfigError(
            f"{origin.run or origin.encoder} has other weights now ({now[:12]}) than when it made the vectors of "
            f"{store.path} ({origin.weights[:12]}); embed the data again into a new store"
        )
    return run


def embed_query(store: Store, question: str | bytes, run: Run | None = None) -> np.ndarray:
    """(1, D) vector of words, or of the content of a file, by what made the vectors of the store.

    Raises:
        ConfigError: what the store holds is not searched by such a thing, or as of `encoder_of`. DataError: there is
        nothing in the question, or it is broken.
    """
    run = encoder_of(store) if run is None else run
    return run.vectors_of(run.method, run.modality.asked(question, run.config["source"]), False)


def search(
    store: str | Path | Store,
    question: str | bytes | None = None,
    *,
    like: str | None = None,
    vector: np.ndarray | None = None,
    k: int = 10,
    where: str | None = None,
    approximate: bool = False,
    compact: str | None = None,
    scores: str = "cosine",
    words: Literal["meaning", "lexical", "hybrid"] = "meaning",
    column: str = "text",
    rerank: Rerank | None = None,
    depth: int = 100,
) -> list[Hit]:
    """The rows of a store nearest to words or the content of a file, to the row of an id, or to a vector.

    Args:
        approximate, compact, scores: as of `Store.search`.
        words: how words are looked for: by their vector, by BM25 in a column of texts, or by both, whose two lists of
            `depth` rows become one by reciprocal rank fusion.
        column: of texts, for BM25.
        rerank: called with the words and `depth` hits, and gives a score for each, by which they are put in order: a
            cross-encoder or late interaction, for example.
        depth: rows of each list before they are fused or put in another order; at least k.

    Raises:
        ConfigError: not one of the three, BM25 or another order without words, or as of `Store.search` and
        `embed_query`. DataError: the new order has another number of scores.
    """
    made = store if isinstance(store, Store) else Store.open(store)
    if (question is not None) + (like is not None) + (vector is not None) != 1:
        raise ConfigError("search by one of: words, a file (--file), the id of a row (--id), a vector (--vector)")
    if words not in ("meaning", "lexical", "hybrid"):
        raise ConfigError(f"words are looked for by meaning, lexical or hybrid, not {words!r}")
    if (words != "meaning" or rerank is not None) and not isinstance(question, str):
        raise ConfigError("BM25 and another order of the hits need words; search by words")
    how: dict[str, Any] = {"approximate": approximate, "compact": compact, "scores": scores}
    if like is not None:
        return made.like(like, k, where, **how)
    many = max(k, depth) if words == "hybrid" or rerank is not None else k
    lists = []
    if words != "lexical":
        asked = vector if vector is not None else embed_query(made, question or "")
        lists.append(made.search(asked, many, where, **how)[0])
    if words != "meaning":
        assert isinstance(question, str)
        lists.append(made.lexical(question, many, where, column=column))
    hits = fused(lists, many) if words == "hybrid" else lists[0]
    if rerank is None:
        return hits[:k]
    assert isinstance(question, str)
    return reordered(hits, rerank(question, hits))[:k]


def reordered(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """Hits by other scores, highest first; of equal scores the earlier hit.

    Raises:
        DataError: not a score for each.

    >>> [hit.id for hit in reordered([Hit("a", 0.9), Hit("b", 0.8)], [0.1, 0.7])]
    ['b', 'a']
    """
    found = [float(one) for one in scores]
    if len(found) != len(hits):
        raise DataError(f"{len(found)} scores for {len(hits)} hits; there must be one for each")
    order = sorted(range(len(hits)), key=lambda place: -found[place])
    return [replace(hits[place], score=found[place]) for place in order]


def _columns(source: Source) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"name": list(source.names)}
    if source.labels is not None:
        found["label"] = [source.classes[label] if label >= 0 else None for label in source.labels.tolist()]
    texts = getattr(source, "columns", None)
    if texts:
        found["text"] = list(next(iter(texts.values())))
    return found


def _thumbnails(run: Run, source: Source) -> list[bytes]:
    pictures = run.modality.pictures(source, np.arange(len(source)))
    assert isinstance(pictures, np.ndarray)
    return [encoded(picture(one, _LARGEST))[0] for one in pictures]


def _note(store: Store, source: Source, data: str) -> None:
    known: dict[str, Any] = store.facts().get("data", {})
    if data[:16] not in known:
        path = source.details.get("path", "")
        entry = {"path": os.path.abspath(path) if path else "", "fingerprint": data, "items": len(source)}
        store.note(data=known | {data[:16]: entry})
