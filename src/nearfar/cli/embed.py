"""nearfar embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .app import LABELS, PATHS, app, columns


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path, typer.Argument(help="What to embed.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")] = Path("vectors.npz"),
    batch_size: Annotated[int, typer.Option(help="Rows at a time.", min=1)] = 512,
    test: Annotated[bool, typer.Option("--test", help="The test part of data that come in two parts.")] = False,
    path_column: PATHS = None,
    label_column: LABELS = None,
) -> None:
    """Turn DATA into vectors with a trained run: an .npz of vectors, names, and labels where there are labels."""
    from ..run import Run

    if out.exists() and data.exists() and out.samefile(data):
        raise ConfigError(f"{out} is the data themselves; write the vectors to another file with --out")
    made = Run.load(run).reading(**columns(path_column, label_column))
    train, held = made.read(data)
    if test and held is None:
        raise ConfigError(f"{data} has no test part; leave out --test")
    if held is not None and not test:
        typer.echo(f"nearfar: the test part of {data} ({len(held)} items) is left out; --test embeds it", err=True)
    vectors = made.embed(held if held is not None and test else train, batch_size=batch_size)
    n, width = vectors.vectors.shape
    typer.echo(f"{n} vectors of width {width}: {vectors.save(out)}")
