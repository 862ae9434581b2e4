"""nearfar cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Text, Whole, app
from .dedupe import PAGE, STORE, TABLE, WHERE
from .label import COLUMN


@app.command()
def cluster(
    store: STORE,
    way: Annotated[
        str, typer.Option("--by", help="kmeans, hdbscan, or shift: what changes between domains.")
    ] = "kmeans",
    count: Annotated[
        Whole, typer.Option("--clusters", help="Groups of k-means; by the silhouette when left out.")
    ] = None,
    least: Annotated[int, typer.Option(help="Rows of the smallest group of hdbscan.")] = 10,
    seed: Annotated[int, typer.Option(help="Of k-means.", min=0)] = 0,
    domain: Annotated[Text, typer.Option("--domain-column", help="Column of domains, with --by shift.")] = None,
    column: COLUMN = "label",
    where: WHERE = None,
    out: TABLE = None,
    page: PAGE = None,
    write: Annotated[bool, typer.Option("--write", help="Write the column cluster into the store.")] = False,
) -> None:
    """Group the rows of a STORE, and name the groups by keywords of their texts or by their labels."""
    from ..curation import cluster as find
    from ..curation.page import Line
    from ..curation.page import write as write_page
    from ..curation.rows import write_table
    from ..store import Store, put_columns

    opened = Store.open(store)
    found = find(opened, way, count, least, column, where, seed, domain)  # type: ignore[arg-type]
    names = {one.number: one.name for one in found.clusters}
    for one in found.clusters:
        mostly = f"  {100 * one.share:.0f} % {one.label}" if one.label else ""
        typer.echo(f"{one.number:4}  {one.size:8,} rows  silhouette {one.silhouette:6.3f}  {one.name}{mostly}")
    for name, shares in found.proportions.items():
        typer.echo(f"in {name}: " + ", ".join(f"{number} {share:.2f}" for number, share in enumerate(shares)))
    alone = int((found.numbers < 0).sum())
    without = f", {alone:,} rows without a group" if alone else ""
    typer.echo(f"{len(found.clusters):,} groups of {len(found.ids):,} rows{without}; silhouette {found.silhouette:.3f}")
    if out is not None:
        rows = [
            (one, number, names.get(number, "")) for one, number in zip(found.ids, found.numbers.tolist(), strict=True)
        ]
        typer.echo(f"Table    {write_table(out, ('id', 'cluster', 'name'), rows)}")
    if page is not None:
        lines = [
            Line(one.name, f"{one.size:,} rows, silhouette {one.silhouette:.3f}"
                 + (f", {100 * one.share:.0f} % {one.label}" if one.label else ""),
                 one.examples, [""] * len(one.examples))
            for one in found.clusters
        ]  # fmt: skip
        groups = f"{len(found.clusters):,} groups of {len(found.ids):,} rows by {way}{without}"
        lead = f"{groups}: the rows nearest to the middle of each."
        typer.echo(f"Page     {write_page(page, opened, 'Groups of rows', lead, lines)}")
    if write:
        before = opened.version
        put_columns(opened, {"cluster": "int64", "cluster_name": "string"}, found.ids, {
            "cluster": found.numbers.tolist(), "cluster_name": [names.get(one) for one in found.numbers.tolist()],
        })  # fmt: skip
        typer.echo(f"written to {store}; back with: nearfar store restore {store} {before}")
