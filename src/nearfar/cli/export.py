"""nearfar export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder, or a file that ends in .onnx.")],
    form: Annotated[
        str, typer.Option("--as", help="sentence-transformers or onnx; told by the name of OUT when left out.")
    ] = "",
) -> None:
    """Write the encoder of a run of texts for use without nearfar: a sentence-transformers folder, or an ONNX file."""
    from ..exporting import export as write
    from ..run import Run

    written = write(Run.load(run), out, form or ("onnx" if out.suffix == ".onnx" else "sentence-transformers"))
    parity = "" if written.parity is None else f"; its vectors differ from nearfar's by {written.parity:.1e} at most"
    typer.echo(f"{written.path}{parity}")
