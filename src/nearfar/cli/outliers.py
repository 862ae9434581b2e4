"""nearfar outliers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .app import app
from .dedupe import PAGE, STORE, TABLE, WHERE, called
from .label import COLUMN, K

_FIRST = 10


@app.command()
def outliers(
    store: STORE,
    way: Annotated[
        str, typer.Option("--by", help="distance (to near rows), density (local), class (Mahalanobis), or labels.")
    ] = "distance",
    k: K = 10,
    count: Annotated[int, typer.Option(help="Rows on the page and in the table.", min=1)] = 100,
    column: COLUMN = "label",
    where: WHERE = None,
    out: TABLE = None,
    page: PAGE = None,
) -> None:
    """Find the rows of a STORE that are unlike the others, or whose label their neighbours do not share."""
    from ..curation import doubtful_labels
    from ..curation import outliers as find
    from ..curation.page import Line, write
    from ..curation.rows import shown, write_table
    from ..store import Store

    opened = Store.open(store)
    head: tuple[str, ...]
    cells: list[tuple[Any, ...]]
    if way == "labels":
        doubts = doubtful_labels(opened, k, column, where)
        ids, head = doubts.ids, ("id", "label", "neighbours_say", "own_share", "other_share")
        cells = list(zip(doubts.labels, doubts.others, doubts.own_share.tolist(), doubts.other_share.tolist(),
                         strict=True))  # fmt: skip
        captions = [f"neighbours: {other} ({theirs:.2f}), own label {own:.2f}" for _, other, own, theirs in cells]
        lead = f"{len(ids):,} rows whose {k} nearest rows give another label more votes than theirs, widest gap first."
    else:
        found = find(opened, way, k, column, where)  # type: ignore[arg-type]
        ids, head, cells = found.ids, ("id", "score"), [(score,) for score in found.scores.tolist()]
        captions = [f"{score:.3f}" for score in found.scores.tolist()]
        lead = f"The most unlike of {len(ids):,} rows, by {way}, most unlike first."
    total, ids, cells, captions = len(ids), ids[:count], cells[:count], captions[:count]
    seen = shown(opened, ids[:_FIRST])
    for one, caption in zip(ids[:_FIRST], captions, strict=False):
        typer.echo(f"{caption}  {called(one, seen.get(one, {}))}")
    if not total:
        typer.echo("no label is doubtful")
    elif way == "labels":
        typer.echo(f"{total:,} labels are doubtful")
    if out is not None:
        rows = [(one, *cell) for one, cell in zip(ids, cells, strict=True)]
        typer.echo(f"Table    {write_table(out, head, rows)}")
    if page is not None:
        step = 12
        lines = [
            Line(f"Rows {start + 1} to {min(start + step, len(ids))}", "", ids[start : start + step],
                 captions[start : start + step])
            for start in range(0, len(ids), step)
        ]  # fmt: skip
        title = "Doubtful labels" if way == "labels" else "Outliers"
        typer.echo(f"Page     {write(page, opened, title, lead, lines, 'Rows')}")
