"""nearfar drift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import JSON, LABELS, PATHS, Number, app, columns, say


@app.command()
def drift(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path, typer.Argument(help="Any data that the run reads; probes are measured where it has labels.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours of each item that are compared.", min=1)] = 10,
    average: Annotated[
        Number, typer.Option("--average-with-start", help="As if this share of the start were in the weights.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the intervals.")] = 0,
    path_column: PATHS = None,
    label_column: LABELS = None,
    as_json: JSON = None,
) -> None:
    """Compare the vectors of a run with those of the encoder it started from: neighbours, CKA, probes, what moved."""
    from .. import drift as drifts
    from ..run import Run

    made = Run.load(run).reading(**columns(path_column, label_column))
    if average is not None:
        made = made.averaged(average)
    found = drifts.drift(made, data, k=k, seed=seed, on_step=say)
    typer.echo(str(found))
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")
