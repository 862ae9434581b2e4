"""nearfar search and nearfar store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .app import JSON, Number, Text, Where, app

_WIDTH = 72  # characters of a cell

_STORE = Annotated[str, typer.Argument(help="The folder of a store, or its address: s3://bucket/my.store.")]
_WHERE = Annotated[Text, typer.Option(help="Only rows that pass, as in SQL: \"label = 'cat' AND year > 2000\".")]
_store = typer.Typer(help="Look into a store of vectors, fill it from files, index it.", no_args_is_help=True)
app.add_typer(_store, name="store")


@app.command()
def search(
    store: _STORE,
    query: Annotated[Text, typer.Argument(help="Words to search for.")] = None,
    like: Annotated[Text, typer.Option("--id", help="Search for what is like the row of this id.")] = None,
    file: Annotated[Where, typer.Option(help="Search for what is like the picture in this file.")] = None,
    vector: Annotated[Where, typer.Option(help="Search by the one vector in this .npy file.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many rows.", min=1)] = 10,
    where: _WHERE = None,
    lexical: Annotated[bool, typer.Option("--lexical", help="By the words themselves (BM25).")] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="By meaning and by the words themselves.")] = False,
    column: Annotated[str, typer.Option(help="Column of texts in which --lexical and --hybrid look.")] = "text",
    approximate: Annotated[bool, typer.Option("--approximate", help="By the index of the store.")] = False,
    compact: Annotated[
        Text, typer.Option(help="By compact vectors, scored again in full: int8, binary, or a width such as 128.")
    ] = None,
    scores: Annotated[str, typer.Option(help="cosine, or csls or proximity, by which hubs gain nothing.")] = "cosine",
    rerank: Annotated[Text, typer.Option(help="A run whose scores put in order what is found by words.")] = None,
    depth: Annotated[int, typer.Option(help="Rows that are put in order, with --rerank.", min=1)] = 100,
    json_: JSON = None,
) -> None:
    """Search a STORE: the rows nearest to a QUERY in words, to a picture, to one of its rows, or to a vector."""
    from ..run import save
    from ..store import Store
    from ..storing import search as searching

    opened = Store.open(store)
    if query is not None and file is not None:
        raise ConfigError("search by words or by a file, not by both")
    if lexical and hybrid:
        raise ConfigError("choose one of --lexical and --hybrid")
    asked = query if file is None else file.read_bytes()
    if rerank is not None and query is None:
        raise ConfigError("--rerank puts in order what is found by words; give a query in words")
    order = None
    if rerank is not None:
        from ..scoring import reranker

        order = reranker(rerank)
    hits = searching(
        opened, asked, like=like, vector=None if vector is None else _vector(vector), k=k, where=where,
        approximate=approximate, compact=compact, scores=scores, column=column,
        words="lexical" if lexical else "hybrid" if hybrid else "meaning", rerank=order, depth=depth,
    )  # fmt: skip
    shown = [name for name in ("label", "text", "name") if name in opened.columns]
    shown = [name for name in shown if any(hit.columns[name] is not None for hit in hits)]
    if "text" in shown or all(hit.columns.get("name") == hit.id for hit in hits):
        shown = [name for name in shown if name != "name"]
    rows = [["", "score", "id", *shown]]
    for place, hit in enumerate(hits, 1):
        rows.append([str(place), f"{hit.score:.4f}", hit.id, *(_cell(hit.columns[name]) for name in shown)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if hits else []:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not hits:
        none = "no row passes the filter" if where else "no row holds a word of it" if lexical else "the store is empty"
        typer.echo(f"nearfar: {none}", err=True)
    if approximate:
        typer.echo(f"nearfar: by the index {opened.recall()}", err=True)
    if compact is not None:
        typer.echo(f"nearfar: by {opened.compact_vectors(compact)}", err=True)
    if json_ is not None:
        save(json_, json.dumps([{"id": h.id, "score": h.score, **h.columns} for h in hits], indent=1).encode())


def _vector(file: Path) -> Any:
    import numpy as np

    from ..errors import DataError
    from ..mining import open_vectors

    if not file.is_file():
        raise DataError(f"there is no file {file}")
    if file.suffix == ".npy" and np.load(file, mmap_mode="r", allow_pickle=False).ndim == 1:
        return np.load(file, allow_pickle=False)
    found = open_vectors(file)
    if len(found) != 1:
        raise DataError(f"{file} holds {len(found)} vectors; search by one")
    return found[0]


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


@_store.command()
def info(
    store: _STORE,
    hubness: Annotated[bool, typer.Option("--hubness", help="Also whether some rows are near to too many.")] = False,
) -> None:
    """What a store holds, what made it, its versions, and its index."""
    from ..store import Store, hubs

    opened = Store.open(store)
    typer.echo(f"{len(opened):,} vectors of width {opened.width}: {opened.provenance.sentence()}")
    typer.echo(f"columns: {', '.join(opened.columns) or 'none'}")
    for one in opened.facts().get("data", {}).values():
        typer.echo(f"data: {one['items']:,} items of {one['path'] or 'memory'} ({one['fingerprint'][:12]})")
    versions = opened.versions()
    typer.echo(f"versions: {versions[0][0]} to {versions[-1][0]}, the newest of {versions[-1][1]:%Y-%m-%d %H:%M:%S}")
    typer.echo(f"index: {opened.recall() or 'none'}")
    for one in hubs.hubness(opened) if hubness else []:
        typer.echo(f"hubs by {one}")


@_store.command()
def index(
    store: _STORE,
    kind: Annotated[str, typer.Option(help="hnsw, bits or pq.")] = "hnsw",
    promise: Annotated[float, typer.Option(help="Recall@10 below which it is refused.", min=0, max=1)] = 0.95,
    sample: Annotated[int, typer.Option(help="Rows to measure it on.", min=1)] = 100,
    where: Annotated[Text, typer.Option(help="A filter such as searches will have, to measure it under too.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure the index that is there; build none.")] = False,
) -> None:
    """Build an index for approximate search, and measure what it finds against exact search."""
    from ..store import Store

    opened = Store.open(store)
    typer.echo(str(opened.remeasure_index(sample) if again else opened.build_index(kind, promise, sample, where)))


@_store.command()
def compact(
    store: _STORE,
    days: Annotated[Number, typer.Option(help="Give up versions older than so many days, and free their room.")] = None,
) -> None:
    """Put the many small files of a STORE together, and bring later rows into its indices."""
    from ..store import Store

    opened = Store.open(store)
    opened.compact_files(days)
    versions = opened.versions()
    typer.echo(f"{len(opened):,} vectors; versions {versions[0][0]} to {versions[-1][0]} can be restored")


@_store.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Vectors: .npy, .npz, .parquet or .arrow.")],
    store: _STORE,
    encoder: Annotated[str, typer.Option(help="What made them.")] = "",
    vector: Annotated[str, typer.Option(help="Column of vectors in a table.")] = "vector",
) -> None:
    """Put the vectors of a FILE into a STORE; rows that are there stay."""
    from ..store import import_file

    typer.echo(f"{len(import_file(file, store, encoder, vector)):,} vectors: {store}")


@_store.command()
def export(
    store: _STORE,
    file: Annotated[Path, typer.Argument(help="To write: .npy, .npz, .parquet or .arrow.")],
    where: _WHERE = None,
    ids: Annotated[
        Where, typer.Option(help="Only rows whose ids are in this file, such as a selection of a map.")
    ] = None,
) -> None:
    """Write the rows of a STORE to a FILE."""
    from ..store import Store, export_file, only, read_ids

    opened = Store.open(store)
    chosen = where if ids is None else only(opened, read_ids(ids), where)
    typer.echo(f"{export_file(opened, file, chosen):,} vectors: {file}")


@_store.command()
def delete(
    store: _STORE,
    ids: Annotated[list[str], typer.Option("--id", help="A row to take out; may be given often.")] = [],  # noqa: B006
    where: _WHERE = None,
) -> None:
    """Take rows out of a STORE; the version before keeps them."""
    from ..store import Store

    if not ids and where is None:
        raise ConfigError("say which rows: --id NAME or --where FILTER")
    opened = Store.open(store)
    before = opened.version
    typer.echo(f"{opened.delete(ids, where):,} rows taken out; back with: nearfar store restore {store} {before}")


@_store.command()
def restore(store: _STORE, version: Annotated[int, typer.Argument(help="Number of the version.", min=1)]) -> None:
    """Make an earlier version of a STORE the newest one."""
    from ..store import Store

    opened = Store.open(store)
    opened.restore(version)
    typer.echo(f"{len(opened):,} vectors")


@_store.command()
def compare(
    old: _STORE,
    new: Annotated[str, typer.Argument(help="Another store with vectors of the same rows, of another model.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours of each row that are compared.", min=1)] = 10,
    rows: Annotated[int, typer.Option(help="Rows that are looked at, at random.", min=20)] = 4000,
    seed: Annotated[int, typer.Option(help="Of these and of the intervals.")] = 0,
    json_: JSON = None,
) -> None:
    """Compare two models over the same rows: neighbours, CKA, what moved most, and whether OLD vectors may stay."""
    from ..upgrading import compare_stores

    found = compare_stores(old, new, k=k, rows=rows, seed=seed)
    typer.echo(str(found))
    if json_ is not None:
        typer.echo(f"Figures  {found.save(json_)}")
