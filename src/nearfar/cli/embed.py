"""nearfar embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .app import LABELS, PATHS, Text, Where, Whole, app, columns


@app.command()
def embed(
    run: Annotated[
        str, typer.Argument(help="A run folder, or an encoder by name: NAME:pretrained, NAME@FILE.safetensors, NAME.")
    ],
    data: Annotated[Path, typer.Argument(help="What to embed.")],
    out: Annotated[Where, typer.Option("--out", "-o", help="The .npz file to write; vectors.npz if not given.")] = None,
    store: Annotated[Text, typer.Option(help="A store to write to instead, block by block; see docs/store.md.")] = None,
    ids: Annotated[str, typer.Option(help="Of rows in a store: auto, name or content.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Rows at a time.", min=1)] = 512,
    devices: Annotated[int, typer.Option(help="Share the rows over so many devices, a process each.", min=1)] = 1,
    test: Annotated[bool, typer.Option("--test", help="The test part of data that come in two parts.")] = False,
    size: Annotated[Whole, typer.Option(help="Side of the images in pixels, for an encoder by name.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Encode row by row, so that a vector is the same bits at any batch size.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="With --store: on all machines of a Ray cluster (RAY_ADDRESS).")
    ] = False,
    path_column: PATHS = None,
    label_column: LABELS = None,
) -> None:
    """Turn DATA into vectors by a run, or by any encoder: an .npz of vectors, names, and labels where there are any.

    With --store, into a store: killed and started again, it goes on where it was.
    """
    from ..opening import open_run

    if store is not None and (out is not None or devices > 1):
        raise ConfigError("--store writes no other file and uses one device; leave out --out and --devices")
    if cluster and store is None:
        raise ConfigError("--cluster embeds into a store; say which with --store, or share devices with --devices")
    out = out or Path("vectors.npz")
    if out.exists() and data.exists() and out.samefile(data):
        raise ConfigError(f"{out} is the data themselves; write the vectors to another file with --out")
    options: dict[str, Any] = {**columns(path_column, label_column), **({} if size is None else {"size": size})}
    made = open_run(run, data, **options)
    train, held = made.read(data)
    if test and held is None:
        raise ConfigError(f"{data} has no test part; leave out --test")
    if held is not None and not test:
        typer.echo(f"nearfar: the test part of {data} ({len(held)} items) is left out; --test embeds it", err=True)
    source = held if held is not None and test else train
    if store is not None:
        from ..storing import embed_into

        how: dict[str, Any] = {"ids": ids, "batch_size": batch_size, "exact": exact, "cluster": cluster}
        done = embed_into(made, source, store, **how)
        typer.echo(f"{len(done.store)} vectors of width {done.store.width}: {store} "
                   f"({done.added} new, {done.changed} changed, {done.kept} as they were)")  # fmt: skip
        return
    vectors = made.embed(source, batch_size=batch_size, devices=devices, exact=exact)
    n, width = vectors.vectors.shape
    typer.echo(f"{n} vectors of width {width}: {vectors.save(out)}")
