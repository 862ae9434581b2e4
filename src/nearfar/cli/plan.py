"""nearfar plan."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .app import JSON, SET, Number, Text, Whole, app
from .settings import from_pairs


@app.command()
def plan(
    data: Annotated[str, typer.Argument(help="As for fit; or the shape of images alone, such as 60000x1x28x28.")],
    method: Annotated[str, typer.Option(help="See: nearfar methods")] = "simclr",
    encoder: Annotated[Text, typer.Option(help="As for fit.")] = None,
    modality: Annotated[Text, typer.Option(help="images, text or tables; recognised when left out.")] = None,
    batch_size: Annotated[Whole, typer.Option(help="Items contrasted with each other.")] = None,
    micro_batch: Annotated[Whole, typer.Option(help="Rows encoded at a time, to bound memory.")] = None,
    epochs: Annotated[Number, typer.Option(help="Passes over the data (10 when steps is not given).")] = None,
    steps: Annotated[Whole, typer.Option(help="Updates, in place of epochs.")] = None,
    devices: Annotated[int, typer.Option(help="Processes that share every batch, a device each.", min=1)] = 1,
    spread: Annotated[str, typer.Option(help="Rows of several devices: gathered, as fit does, or ring.")] = "gathered",
    memory: Annotated[Number, typer.Option(help="GiB that a device has; what is free now when left out.")] = None,
    set_: SET = [],  # noqa: B006
    as_json: JSON = None,
) -> None:
    """Predict memory and time of `nearfar fit` with the same settings, from a few seconds of measurement."""
    from ..planning import plan as planned
    from ..run import save

    given = {"batch_size": batch_size, "micro_batch": micro_batch, "epochs": epochs, "steps": steps}
    settings = from_pairs(set_) | {key: value for key, value in given.items() if value is not None}
    made = planned(
        data,
        method=method,
        encoder=encoder,
        modality=modality,
        devices=devices,
        spread=spread,
        memory=None if memory is None else memory * 2**30,
        **settings,
    )
    typer.echo(made)
    if as_json is not None:
        save(as_json, json.dumps(made.to_json(), indent=2).encode())
