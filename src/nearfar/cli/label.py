"""nearfar label."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Number, app
from .dedupe import STORE, TABLE, WHERE

COLUMN = Annotated[str, typer.Option("--label-column", help="Column of labels, empty where unknown.")]
K = Annotated[int, typer.Option("-k", help="Near rows that each row is compared with.")]


@app.command()
def label(
    store: STORE,
    promise: Annotated[float, typer.Option(help="Share of found labels that are to be right.")] = 0.95,
    rule: Annotated[
        Number, typer.Option(help="Confidence from which a label is given, instead of the promise.")
    ] = None,
    column: COLUMN = "label",
    k: K = 10,
    where: WHERE = None,
    out: TABLE = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the columns label_found and confidence into the store.")
    ] = False,
) -> None:
    """Spread the few labels of a STORE to the rows that have none; where it is not sure it gives none."""
    from ..curation import spread_labels
    from ..curation.rows import write_table
    from ..store import Store, put_columns

    opened = Store.open(store)
    found = spread_labels(opened, column, k, promise=promise, rule=rule, where=where)
    known = int(found.known.sum())
    given = sum(one is not None for one in found.labels) - known
    typer.echo(f"{known:,} labels known, {given:,} found, {len(found.ids) - known - given:,} rows stay without")
    if found.right is not None and found.covered is not None:
        if found.covered == 0:
            typer.echo(f"no confidence keeps a promise of {promise:g} on hidden labels; promise less, or label more")
        else:
            typer.echo(
                f"of hidden labels {100 * found.right:.1f} % were right at a confidence of {found.rule:.3f} or more, "
                f"which {100 * found.covered:.0f} % of them reached"
            )
    confidence = found.confidence.tolist()
    if out is not None:
        rows = zip(found.ids, found.labels, [round(one, 6) for one in confidence], found.known.tolist(), strict=True)
        typer.echo(f"Table    {write_table(out, ('id', 'label_found', 'confidence', 'known'), rows)}")
    if write:
        before = opened.version
        kinds = {"label_found": "string", "confidence": "float64"}
        put_columns(opened, kinds, found.ids, {"label_found": found.labels, "confidence": confidence})
        typer.echo(f"written to {store}; back with: nearfar store restore {store} {before}")
