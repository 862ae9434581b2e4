"""nearfar anomalies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import JSON, LABELS, PATHS, Where, app, columns, command_line, say
from .dedupe import PAGE, TABLE

_FIRST = 10


@app.command()
def anomalies(
    run: Annotated[str, typer.Argument(help="A run folder, or an encoder by name: NAME:pretrained, NAME.")],
    data: Annotated[Path, typer.Argument(help="What to score; the test part where data come in two parts.")],
    normal: Annotated[
        Where, typer.Option(help="Normal items; the training part of DATA when left out.", show_default=False)
    ] = None,
    classes: Annotated[
        list[str],
        typer.Option(
            "--class",
            metavar="NAME",
            help="A label that is normal, can be repeated; those of the normal items when left out.",
        ),
    ] = [],  # noqa: B006
    k: Annotated[int, typer.Option("-k", help="Nearest normal items whose distances are added up.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Of the intervals.", min=0)] = 0,
    out: TABLE = None,
    page: PAGE = None,
    path_column: PATHS = None,
    label_column: LABELS = None,
    as_json: JSON = None,
) -> None:
    """Find the items of DATA that are unlike all normal ones, and say how well that tells anomalies, by labels."""
    from ..anomalies import anomalies as find
    from ..curation.rows import write_table
    from ..opening import open_run

    reading: dict[str, Any] = {**columns(path_column, label_column)}
    made = open_run(run, data if normal is None else normal, **reading)
    found = find(made, data, normal, classes, k, seed=seed, on_step=say)
    for row in found.order[:_FIRST]:
        typer.echo(
            f"{found.scores[row]:.4f}  {found.names[row]}{f'  {found.labels[row]}' if found.labels[row] else ''}"
        )
    typer.echo(str(found))
    if out is not None:
        rows = [(found.names[row], round(float(found.scores[row]), 6), found.labels[row]) for row in found.order]
        typer.echo(f"Table    {write_table(out, ('name', 'score', 'label'), rows)}")
    if page is not None:
        typer.echo(f"Page     {found.page(page, command_line())}")
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")
