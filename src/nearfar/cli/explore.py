"""nearfar explore."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Number, Where, app
from .dedupe import STORE, WHERE


@app.command()
def explore(
    store: STORE,
    against: Annotated[Where, typer.Option(help="A store of the same rows by other weights: who moved.")] = None,
    copies: Annotated[bool, typer.Option("--duplicates", help="Look for near duplicates too.")] = False,
    threshold: Annotated[Number, typer.Option(help="Cosine of duplicates; from the data when left out.")] = None,
    where: WHERE = None,
    rows: Annotated[int, typer.Option(help="Most rows on the map; of more some are drawn.")] = 20_000,
    projection: Annotated[str, typer.Option(help="pacmap, pca, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the draw and the map.", min=0)] = 0,
    export: Annotated[Where, typer.Option(help="Write the map to this new folder instead of showing it.")] = None,
    port: Annotated[int, typer.Option(help="On this machine; 0 for a free one.", min=0, max=65535)] = 5055,
) -> None:
    """Show a STORE as a map in the browser, on this machine alone and without the network."""
    from ..exploring import mapped, serve, write_site
    from ..store import Store

    other = Store.open(against) if against is not None else None
    made = mapped(Store.open(store), other, copies or threshold is not None, threshold, where, rows, projection, seed)
    typer.echo(f"{made.table.num_rows:,} of {made.rows:,} rows; {made.how}")
    if export is not None:
        typer.echo(f"Map      {write_site(made, export)}")
        typer.echo(f"see it with: python -m http.server --bind 127.0.0.1 --directory {export}")
        return
    serve(made, port, lambda address: typer.echo(f"Map      {address}    (Ctrl-C ends it)"))
