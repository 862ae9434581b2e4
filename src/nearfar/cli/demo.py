"""nearfar demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import Where, Whole, app


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run, report.html and results.json.")] = Path(
        "demo"
    ),
    data: Annotated[Where, typer.Option(help="Other images in place of the bundled ones.")] = None,
    steps: Annotated[Whole, typer.Option(help="Shorten or lengthen the training.", min=1)] = None,
) -> None:
    """Run the main job on real pictures that come with the package, and write a report."""
    from ..demo import demo as run_demo

    settings: dict[str, Any] = {} if steps is None else {"steps": steps, "epochs": None}
    _, found, page = run_demo(out, data, typer.echo, **settings)
    typer.echo(f"\n{found}\n\nFigures  {out / 'results.json'}\nReport   {page}")
