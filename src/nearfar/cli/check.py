"""nearfar check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Where, app


@app.command()
def check(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Where, typer.Argument(help="What is embedded; the data of the run when left out.")] = None,
    rows: Annotated[int, typer.Option(help="How many rows are embedded.", min=1)] = 64,
) -> None:
    """Prove that the vectors of a run do not depend on the batch size, and say whether the run is whole."""
    from .. import checking
    from ..run import Run

    found = checking.check(Run.load(run), data, rows)
    typer.echo(str(found))
    if not found.good:
        raise typer.Exit(1)
