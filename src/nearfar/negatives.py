"""Mine hard negatives from files: embed both sides, find candidates, filter, draw, and write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import ConfigError
from .mining import (
    BM25,
    Approximate,
    Bins,
    Ceiling,
    Exact,
    Gumbel,
    Margin,
    Mining,
    Mixture,
    Near,
    PairScorer,
    Percentage,
    Random,
    Ranks,
    Report,
    SameText,
    SimANS,
    Top,
    Union,
    mine_into,
    text_keys,
)
from .mining.consistency import consistent as found_again
from .mining.job import free
from .mining.parts import alone
from .models.digest import digest
from .run import shown
from .scoring import ranker_in, scorer_of
from .sides import Embedder, Sides, read_sides

MINERS = ("exact", "hnsw", "ivf", "bm25")
SAMPLERS = {kind.name: kind for kind in (Top, Random, SimANS, Gumbel, Bins, Mixture)}
Pairs = Callable[[list[tuple[str, str]]], "Sequence[float] | np.ndarray"]


def mine(
    run: str | Path | None,
    corpus: str | Path,
    queries: str | Path | None = None,
    *,
    out: str | Path,
    training: str | Path | None = None,
    positives: str | Path | None = None,
    negatives: int = 5,
    depth: int | None = None,
    miner: str | Sequence[str] = "exact",
    percentage: float | None = 0.95,
    margin: float | None = None,
    ceiling: float | None = None,
    ranks: tuple[int, int | None] = (1, None),
    guide: str | Path | Pairs | None = None,
    sampler: str = "top",
    sampler_options: dict[str, Any] | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    removed: bool = False,
    consistent: int | None = None,
    seed: int = 0,
    split: str | None = None,
    modality: str | None = None,
    batch_size: int = 512,
    progress: bool | None = None,
    **options: Any,
) -> Report:
    """Mine hard negatives for queries from a corpus, into a table that says where each comes from.

    Args:
        run: a run folder or an encoder by name; None where both sides are vectors.
        corpus: texts to search in, with or without queries of its own: a table of texts; a table of anchors and
            positives, whose positives are searched where `queries` is None; a folder with corpus, queries and qrels;
            any data of another modality that the run reads; vectors (.npy, or .npz of `nearfar embed`).
        queries: a table of texts, or of anchors and positives; or vectors.
        out: the table to write: .parquet, .jsonl or .csv; `out`.json beside it holds settings, counts and hashes.
        training: also write anchor, positive, negative_1 ... negative_H, which `fit` reads.
        positives: a file of lines with query, document and perhaps a grade, by their ids: of qrels, names of an .npz,
            or row numbers from 0. Pairs and qrels bring their own.
        negatives, depth, seed, removed: see `nearfar.mining.Mining`; depth None is 100, or ten times the negatives.
        miner: one or several of exact, hnsw, ivf, bm25; the scores of the first count.
        percentage, margin, ceiling, ranks: filters, see `nearfar.mining`; those by a positive where one is known.
        guide: whose scores these filters read: another run or encoder, or a function of pairs of texts.
        sampler: top, random, simans, gumbel, bins or mixture, with `sampler_options`.
        consistent: leave pairs out of `training` whose positive is not found among so many nearest documents; of weak
            pairs, such as titles and texts from the web (E5).
        split: which qrels of a folder, train when None.
        options: settings of reading, as for `fit`.

    Documents with the text of the query, of a positive, or of a better candidate are always left out.

    Raises:
        DataError, ConfigError: what cannot be used or does not go together. A mining that was interrupted goes on when
        it is called again with the same settings.

    >>> mine("minilm", "pairs.csv", out="mined.parquet", training="triples.csv")        # doctest: +SKIP
    """
    out, training = free(out, training)
    names = [miner] if isinstance(miner, str) else list(miner)
    wrong = [name for name in names if name not in MINERS]
    if wrong or sampler not in SAMPLERS:
        what = ("miner", wrong[0], MINERS) if wrong else ("sampler", sampler, tuple(SAMPLERS))
        raise ConfigError(f"unknown {what[0]} {what[1]!r}; choose from {', '.join(what[2])}")
    if consistent is not None and training is None:
        raise ConfigError("consistent says which pairs go into the table for training; name that table, too")
    drawn = _sampler(sampler, sampler_options or {})
    with alone(out):
        sides, opened = read_sides(run, corpus, queries, positives, split, modality, progress, **options)
        folder = out.with_name(f"{out.name}.vectors")
        facts: dict[str, Any] = {"similarity": similarity}
        vectors: dict[str, Any] = {"queries": sides.queries, "corpus": sides.corpus}
        if opened is not None:
            embedder = Embedder(opened, folder, batch_size, progress)
            facts |= {"model": str(run), "model sha256": embedder.name}
            vectors = {name: embedder.vectors(side, name) for name, side in vectors.items()}
        scorer = _guide(guide, sides, folder, batch_size, progress, similarity, modality, facts, options)
        near = sides.known()
        documents = len(sides.document_ids)
        searching = _miner(names, sides, vectors, similarity, seed)
        trusted = None
        if consistent is not None and near is not None:
            facts["consistent"] = consistent
            trusted = found_again(near, searching, consistent)
        mining = Mining(
            searching,
            near,
            _filters(sides, near, percentage, margin, ceiling, ranks, scorer),
            drawn,
            negatives,
            depth if depth is not None else max(min(max(100, 10 * negatives), documents), negatives),
            seed,
            removed,
        )
        report = mine_into(
            mining,
            out,
            sides.query_ids,
            sides.document_ids,
            training,
            sides.query_texts,
            sides.document_texts,
            shown(progress),
            trusted,
            **facts,
        )
        if folder.is_dir():
            shutil.rmtree(folder)
    return report


def _miner(names: list[str], sides: Sides, vectors: dict[str, np.ndarray], similarity: Any, seed: int) -> Any:
    made: list[Any] = []
    for name in names:
        if name == "exact":
            made.append(Exact(vectors["queries"], vectors["corpus"], similarity))
        elif name == "bm25":
            if sides.query_texts is None or sides.document_texts is None:
                raise ConfigError("bm25 compares words; these data have no texts")
            made.append(BM25(sides.query_texts, sides.document_texts))
        else:
            index: Any = name
            made.append(Approximate(vectors["queries"], vectors["corpus"], similarity, index, seed=seed))
    return made[0] if len(made) == 1 else Union(made)


def _filters(
    sides: Sides,
    near: Near | None,
    percentage: float | None,
    margin: float | None,
    ceiling: float | None,
    ranks: tuple[int, int | None],
    guide: Any,
) -> list[Any]:
    filters: list[Any] = []
    if sides.query_texts is not None and sides.document_texts is not None:
        filters.append(SameText(text_keys(sides.query_texts), text_keys(sides.document_texts)))
    if margin is not None:
        filters.append(Margin(margin, guide))
    if percentage:
        filters.append(Percentage(percentage, guide))
    if near is None:  # they ask how near a positive is
        filters = [chosen for chosen in filters if not isinstance(chosen, Margin | Percentage)]
    if ceiling is not None:
        filters.append(Ceiling(ceiling, guide))
    if tuple(ranks) != (1, None):
        filters.append(Ranks(*ranks))
    return filters


def _guide(
    guide: Any,
    sides: Sides,
    folder: Path,
    batch_size: int,
    progress: bool | None,
    similarity: Any,
    modality: str | None,
    facts: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    if guide is None:
        return None
    if callable(guide):
        if sides.query_texts is None or sides.document_texts is None:
            raise ConfigError("a guide that is a function scores pairs of texts; these data have none")
        facts["guide"] = getattr(guide, "__name__", type(guide).__name__)
        return PairScorer(guide, sides.query_texts, sides.document_texts)
    from .opening import open_run

    if isinstance(sides.corpus, np.ndarray) or isinstance(sides.queries, np.ndarray):
        raise ConfigError(
            "a guide embeds data; these are vectors. From Python, give Exact(...) of other vectors to Margin"
        )
    opened = open_run(guide, sides.corpus)
    if ranker_in(opened) is not None or getattr(opened.method.options, "similarity", "cosine") != "cosine":
        facts |= {"guide": str(guide), "guide sha256": digest(opened.method.state_dict())}
        return scorer_of(opened, sides.queries, sides.corpus, batch_size)
    embedder = Embedder(opened, folder, batch_size, progress)
    facts |= {"guide": str(guide), "guide sha256": embedder.name}
    return Exact(embedder.vectors(sides.queries, "queries"), embedder.vectors(sides.corpus, "corpus"), similarity)


def _sampler(name: str, options: dict[str, Any]) -> Any:
    import inspect

    kind = SAMPLERS[name]
    known = [key for key in inspect.signature(kind).parameters if key not in ("args", "kwargs")]
    wrong = [key for key in options if key not in known]
    if wrong:
        raise ConfigError(f"the sampler {name} has no setting {wrong[0]!r}; it has {', '.join(known) or 'none'}")
    return kind(**options)
