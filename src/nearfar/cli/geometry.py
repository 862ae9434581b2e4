"""nearfar geometry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import JSON, app


@app.command()
def geometry(
    vectors: Annotated[Path, typer.Argument(help="Vectors as .npy, or as .npz of nearfar embed, with labels or not.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours of each row.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Of k-means and the intervals.")] = 0,
    as_json: JSON = None,
) -> None:
    """Look at a file of vectors: spread, sparsity, disentanglement, and with labels smoothness and clusters."""
    import numpy as np

    from ..evaluation import priors
    from ..mining import open_vectors

    table = np.asarray(open_vectors(vectors))
    labels = None
    if vectors.suffix == ".npz":
        with np.load(vectors, allow_pickle=False) as archive:
            labels = archive.get("labels")
    found = priors(table, labels, k=k, seed=seed)
    typer.echo(str(found))
    if labels is None:
        typer.echo("Smoothness and clusters need labels: an .npz of nearfar embed of labelled data has them.")
    if as_json is not None:
        said = {wish: [metric.to_json() for metric in metrics] for wish, metrics in found.metrics.items()}
        as_json.write_text(json.dumps(said | {"verdict": found.verdict}, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"Figures  {as_json}")
