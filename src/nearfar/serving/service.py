"""What a server knows: a store as it was when it began, what embeds questions, and the lanes that do the work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.data.source import Source
from nearfar.errors import ConfigError, DataError
from nearfar.run import Run
from nearfar.store import Hit, Store, lexical
from nearfar.store.beside import there
from nearfar.store.lance import as_matrix, quoted
from nearfar.store.table import checked_vectors
from nearfar.storing import THUMBNAIL

from .filters import checked
from .hiding import Names, last_part
from .lanes import Lane
from .metrics import Metrics
from .refusals import Refused, without_paths
from .settings import ServeSettings

_READERS = 2  # uploads that are decoded at a time
_NOT_SHOWN = ("digest", "data", THUMBNAIL)
_FUSED = 100  # rows of each list that are fused
_CLASSES = 200  # labels to choose from


@dataclass(frozen=True)
class Asked:
    """A search: a vector or the id of a row, how many rows, a filter, and whether to bring thumbnails.

    With `words` rows that hold some of them in a `column` are looked for too, or alone where there is no vector.
    """

    vector: np.ndarray | None
    like: str | None
    k: int
    where: str | None = None
    approximate: bool = False
    thumbnails: bool = False
    compact: str | None = None
    words: str | None = None
    column: str = "text"


class Service:
    """Answers of one store; `run` embeds questions, and is None where nobody knows what made the vectors."""

    def __init__(self, store: Store, run: Run | None, settings: ServeSettings, metrics: Metrics) -> None:
        self.store, self.run, self.settings = store, run, settings
        self.names = Names(store)
        self.rows = len(store)
        self.index = store.recall()
        kinds = {field.name: str(field.type) for field in store.table.schema if field.name != "vector"}
        shown = [name for name in kinds if name not in _NOT_SHOWN and kinds[name] != "binary"]
        self.kinds = {name: kinds[name] for name in shown if name not in self.names.hidden}  # to filter by
        self.shown = [name for name in shown if name != "id"]
        self.thumbnails = THUMBNAIL in store.columns
        self.takes = {kind: _takes(run, probe) for kind, probe in (("words", "word"), ("file", b""))}
        self.labels = self._labels()
        self.words = [column for column in lexical.listed(store) if column in self.kinds]  # a server writes nothing
        self.compact = there(store, "compact-")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="nearfar-read")
        most, waiting = settings.batch, settings.waiting
        self.lanes: tuple[Lane[Any, Any], ...] = (
            Lane("embed", self._embed_all, most, waiting, metrics.batch("embed")),
            Lane("search", self._search_all, most, waiting, metrics.batch("search")),
            Lane("rows", self._rows_all, most, waiting, metrics.batch("rows")),
        )
        self._embed, self._search, self._rows = self.lanes

    async def embed(self, questions: Sequence[str | bytes], sought: bool = False) -> np.ndarray:
        """(N, D) vectors of questions: words, or contents of files; or of words as what is `sought` is embedded.

        Raises:
            Refused: the store is not searched by such things, or they are empty or broken.
        """
        run = self.run
        if run is None:
            raise Refused(400, "this store does not know what made its vectors: search by the id of a row or a vector")

        def read() -> Source:
            first, *others = (run.modality.asked(one, run.config["source"]) for one in questions)
            source = first.joined(others) if others else first
            return source.called("document") if sought else source  # type: ignore[attr-defined]

        try:
            source = await asyncio.get_running_loop().run_in_executor(self._readers, read)
        except ConfigError as error:
            raise Refused(400, without_paths(str(error))) from None
        except DataError as error:
            raise Refused(422, without_paths(str(error))) from None
        vectors: np.ndarray = await self._embed.ask(source)
        return vectors

    def _embed_all(self, sources: Sequence[Source]) -> list[np.ndarray]:
        assert self.run is not None
        kinds: dict[tuple[str, ...], list[int]] = {}  # what asks and what is sought may have prompts of their own
        for place, source in enumerate(sources):
            kinds.setdefault(tuple(getattr(source, "columns", ())), []).append(place)
        answers = [np.empty(0)] * len(sources)
        for places in kinds.values():
            first, *others = (sources[place] for place in places)
            vectors = self.run.vectors_of(self.run.method, first.joined(others) if others else first, False)
            ends = np.cumsum([len(sources[place]) for place in places])
            for place, part in zip(places, np.split(vectors, ends[:-1]), strict=True):
                answers[place] = part
        return answers

    async def search(self, asked: Asked) -> list[Hit]:
        """The nearest rows, with ids and columns as they are shown.

        Raises:
            Refused: the filter cannot be used, there is no such row or no index, or the vector is of another width.
        """
        if asked.where is not None:
            checked(asked.where, self.kinds)
        if asked.approximate and self.index is None:
            raise Refused(400, "this store has no index for approximate search")
        if asked.compact is not None and (asked.approximate or asked.compact not in self.compact):
            there_are = f"there are {', '.join(self.compact) or 'none'}"
            both = "search by the index or by compact vectors, not by both"
            raise Refused(400, both if asked.approximate else f"no compact vectors {asked.compact!r}; {there_are}")
        if asked.words is not None and asked.column not in self.words:
            there_are = f"there are {', '.join(self.words) or 'none'}"
            raise Refused(400, f"no column {asked.column!r} whose words are listed; {there_are} (docs/serving.md)")
        if asked.vector is not None:
            try:
                checked_vectors(asked.vector[None], self.store.width, "the store")
            except DataError as error:
                raise Refused(422, str(error)) from None
        hits: list[Hit] = await self._search.ask(asked)
        return hits

    def _search_all(self, jobs: Sequence[Asked]) -> list[list[Hit] | Exception]:
        """Searches with one filter go over the store together."""
        answers: list[list[Hit] | Exception] = [Refused(404, "there is no row of this id")] * len(jobs)
        ids = {job.like: self.names.known(job.like) for job in jobs if job.like is not None}
        known = self._vectors([one for one in ids.values() if one is not None])
        groups: dict[tuple[Any, ...], list[tuple[int, str | None, np.ndarray]]] = {}
        for place, job in enumerate(jobs):
            if job.words is not None:
                answers[place] = self._by_words(job, job.words)
                continue
            own = None if job.like is None else ids[job.like]
            vector = job.vector if job.like is None else known.get(own or "")
            if vector is not None:
                group = (job.where, job.approximate, job.thumbnails, job.compact)
                groups.setdefault(group, []).append((place, own, vector))
        for (where, approximate, thumbnails, compact), members in groups.items():
            columns = self._columns(thumbnails)
            k = max(jobs[place].k + (own is not None) for place, own, _ in members)  # a row is not like itself
            vectors = np.stack([vector for _, _, vector in members])
            try:
                found = self.store.search(vectors, k, where, columns, approximate, compact)
            except ConfigError as error:
                for place, _, _ in members:
                    answers[place] = Refused(400, _of_filter(error))
                continue
            for (place, own, _), hits in zip(members, found, strict=True):
                others = [hit for hit in hits if hit.id != own][: jobs[place].k]
                answers[place] = self._shown(others)
        return answers

    def _by_words(self, job: Asked, words: str) -> list[Hit] | Exception:
        """A search by words, whose list is made one with that of a vector where there is one."""
        columns, lists = self._columns(job.thumbnails), []
        many = job.k if job.vector is None else max(job.k, _FUSED)
        try:
            if job.vector is not None:
                lists += self.store.search(job.vector, many, job.where, columns, job.approximate, job.compact)
            lists.append(self.store.lexical(words, many, job.where, columns, job.column))
        except ConfigError as error:
            return Refused(400, _of_filter(error))
        return self._shown(lists[0] if job.vector is None else lexical.fused(lists, job.k))

    def _columns(self, thumbnails: bool) -> list[str]:
        return [*self.shown, *([THUMBNAIL] if thumbnails and self.thumbnails else [])]

    def _shown(self, hits: Sequence[Hit]) -> list[Hit]:
        return [Hit(self.names.shown(h.id), h.score, self.names.columns(h.columns)) for h in hits]

    async def some(self, k: int, where: str | None, thumbnails: bool) -> list[Hit]:
        """Some rows, whose scores are NaN: drawn once, or the first that pass a filter.

        Raises:
            Refused: the filter cannot be used.
        """
        if where is not None:
            checked(where, self.kinds)
        columns = ["id", *self._columns(thumbnails)]

        def read() -> list[dict[str, Any]]:
            if where is not None:
                block = next(self.store.blocks(where, columns, k), None)
                return [] if block is None else block.to_pylist()
            drawn = np.sort(np.random.default_rng(0).permutation(self.rows)[:k])
            found: list[dict[str, Any]] = self.store.table.take_offsets(drawn.tolist()).select(columns).to_list()
            return found

        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._readers, read)
        except ConfigError as error:
            raise Refused(400, _of_filter(error)) from None
        return [Hit(self.names.shown(row["id"]), float("nan"), self.names.columns({n: row[n] for n in columns[1:]}))
                for row in rows]  # fmt: skip

    async def row(self, shown: str) -> dict[str, Any]:
        """All columns of a row, with its vector and its thumbnail, by its id as it is shown.

        Raises:
            Refused: there is no such row.
        """
        return dict(await self._rows.ask(shown))  # requests for one row get one answer

    def _rows_all(self, shown: Sequence[str]) -> list[dict[str, Any] | Exception]:
        ids = {one: self.names.known(one) for one in shown}
        columns = [*self.shown, *([THUMBNAIL] if self.thumbnails else [])]
        found: dict[str, dict[str, Any]] = {}
        wanted = ", ".join(quoted(one) for one in set(ids.values()) if one is not None)
        for batch in self.store.blocks(f"id IN ({wanted})", ["id", "vector", *columns]) if wanted else ():
            for row in batch.select(["id", "vector", *columns]).to_pylist():
                own = row.pop("id")
                found[own] = self.names.columns(row)
        return [found.get(ids[one] or "") or Refused(404, "there is no row of this id") for one in shown]

    def _vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        if ids:
            wanted = ", ".join(quoted(one) for one in set(ids))
            for batch in self.store.blocks(f"id IN ({wanted})", ["id", "vector"]):
                found |= zip(batch["id"].to_pylist(), as_matrix(batch["vector"], self.store.width), strict=True)
        return found

    def info(self) -> dict[str, Any]:
        """What clients may know of the store."""
        return {
            "title": last_part(str(os.path.abspath(self.store.path))).removesuffix(".store"),
            "rows": self.rows,
            "width": self.store.width,
            "modality": self.store.provenance.modality or None,
            "weights": self.store.provenance.weights[:12] or None,
            "takes": self.takes,
            "columns": self.kinds,
            "labels": self.labels,
            "thumbnails": self.thumbnails,
            "index": None if self.index is None else str(self.index),
            "words": self.words,
            "compact": self.compact,
        }

    def _labels(self) -> dict[str, int]:
        """How many rows each label has; none where they are too many to choose from."""
        if self.kinds.get("label") != "string":
            return {}
        counted = self.store.column("label").drop_null().value_counts().to_pylist()
        found = {one["values"]: one["counts"] for one in counted} if len(counted) <= _CLASSES else {}
        return dict(sorted(found.items()))

    async def close(self) -> None:
        """Let what runs come to its end."""
        for lane in self.lanes:
            await lane.close()
        self._readers.shutdown()


def _takes(run: Run | None, probe: str | bytes) -> bool:
    try:
        if run is not None:
            run.modality.asked(probe, run.config["source"])
    except ConfigError:
        return False
    except DataError:
        return True  # such a thing, but this one is broken
    return run is not None


def _of_filter(error: ConfigError) -> str:
    said = without_paths(str(error)).replace("Invalid input, ", "")
    return said if len(said) <= 500 else said[:500] + "..."
