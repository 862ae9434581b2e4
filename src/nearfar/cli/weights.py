"""nearfar weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .app import app


@app.command()
def weights(
    file: Annotated[Path, typer.Argument(help="Weights by torch.save: .pth, .pt, .bin or .ckpt.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
) -> None:
    """Convert a file of weights to safetensors, reading tensors and plain containers only; for NAME@FILE encoders."""
    from ..modalities.images.encoders.weights import convert

    if out.suffix != ".safetensors":
        raise ConfigError(f"{out} should end in .safetensors")
    written, left = convert(file, out)
    if left:
        listed = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        typer.echo(f"nearfar: {len(left)} entries are no tensors and were left out: {listed}", err=True)
    typer.echo(f"{len(written)} tensors: {out}")
