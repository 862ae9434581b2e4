"""nearfar generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import SET, Where, app
from .settings import from_pairs


@app.command()
def generated(
    run: Annotated[
        str, typer.Argument(help="A run folder, or an encoder by name: NAME:pretrained, NAME@FILE.safetensors, NAME.")
    ],
    data: Annotated[str, typer.Argument(help="The pictures, as for fit.")],
    pictures: Annotated[Path, typer.Argument(help="Folder or .npz of what was generated from them.")],
    weight: Annotated[float, typer.Option(help="generated_weight that the page shows.", min=0)] = 1.0,
    page: Annotated[Where, typer.Option(help="Also write a page with the weights, the worst and the best.")] = None,
    set_: SET = [],  # noqa: B006
) -> None:
    """Judge generated PICTURES as views of what they were made of, and write it beside them, for generated_weight."""
    from ..generated import judge

    found = judge(run, data, pictures, **from_pairs(set_))
    typer.echo(str(found))
    if page is not None:
        typer.echo(f"{'Page':<10}{found.page(page, weight)}")
