"""nearfar fit."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import ConfigError
from .app import JSON, SET, Number, Text, Where, Whole, app, assess_own, command_line
from .settings import from_file, from_pairs


@app.command()
def fit(
    data: Annotated[
        Where,
        typer.Argument(
            help="A folder of images or texts, a text file, a CSV, JSON or Parquet table, or an .npz archive."
        ),
    ] = None,
    method: Annotated[Text, typer.Option(help="simclr, or supcon where there are labels. See: nearfar methods")] = None,
    encoder: Annotated[
        Text,
        typer.Option(
            help="small, torchvision/NAME, timm/NAME (random), NAME:pretrained, NAME@FILE.safetensors, or a run folder."
        ),
    ] = None,
    epochs: Annotated[Number, typer.Option(help="Passes over the data (10 when steps is not given).")] = None,
    steps: Annotated[Whole, typer.Option(help="Updates, in place of epochs.")] = None,
    batch_size: Annotated[Whole, typer.Option(help="Items contrasted with each other.")] = None,
    micro_batch: Annotated[Whole, typer.Option(help="Rows encoded at a time, to bound memory.")] = None,
    temperature: Annotated[Number, typer.Option(help="Divides every score.")] = None,
    lr: Annotated[Number, typer.Option(help="Highest learning rate.")] = None,
    optimiser: Annotated[Text, typer.Option(help="adamw, sgd or lars.")] = None,
    seed: Annotated[Whole, typer.Option(help="Of weights, views and order.")] = None,
    freeze: Annotated[
        Text, typer.Option(help="First stages of the encoder that do not learn: a number, a share below 1, all, none.")
    ] = None,
    size: Annotated[Whole, typer.Option(help="Side of the images in pixels.")] = None,
    label_column: Annotated[Text, typer.Option(help="Column of labels in a table.")] = None,
    path_column: Annotated[Text, typer.Option(help="Column of file names in a table.")] = None,
    recipe: Annotated[
        Text, typer.Option(help="Of the views: auto, simclr, simclr-small, mocov2, byol, digits.")
    ] = None,
    device: Annotated[Text, typer.Option(help="auto, cpu or cuda.")] = None,
    devices: Annotated[
        Whole, typer.Option(help="Share every batch over so many devices, a process each; see docs/devices.md.", min=1)
    ] = None,
    engine: Annotated[
        Text, typer.Option(help="Of several devices: ddp copies the weights, fsdp shares them out.")
    ] = None,
    config: Annotated[
        Where, typer.Option(help="A YAML file of settings, or config.yaml of a run; options given here win over it.")
    ] = None,
    out: Annotated[
        Where, typer.Option("--out", "-o", help="The run folder; runs/<date>-<method> when left out.")
    ] = None,
    resume: Annotated[Where, typer.Option(help="Continue the run in this folder.")] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Measure the vectors at the end, where there are labels.")
    ] = True,
    set_: SET = [],  # noqa: B006
    as_json: JSON = None,
) -> None:
    """Learn vectors from DATA into a run folder, or continue one with --resume.

    Further settings by --set: those of the method (nearfar methods NAME), of the data and of training; around any
    method masked and next_word (texts), and where data say domains (domain_column=, folders=domain/label) penalty=coral
    or mmd with penalty_weight, even_domains and leave_out; around methods with labels, of pictures,
    mixing=contradicting.

    Under torchrun all its processes share every batch, as with --devices.
    """
    from .. import reporting
    from .. import run as runs
    from ..renewing import minings
    from ..training.team import is_first

    options = locals()
    given = {k: v for k, v in options.items() if k in (*_FIT_SETTINGS, "data", "out") and v is not None}
    given |= from_pairs([f"freeze={freeze}"] if freeze is not None else [])
    if resume is not None:
        extra = [*(key for key in given if key != "devices"), *(["config"] if config else []), *set_]
        if extra:
            raise ConfigError(f"--resume continues a run with its own settings; leave out {', '.join(extra)}")
        made = runs.resume(resume, devices=devices)
        source = made.config["data"]
    else:
        settings = from_file(config)
        for wins in (from_pairs(set_), given):
            # The length is told in one of two ways; the later word on it replaces the earlier one.
            if any(wins.get(key) is not None for key in ("epochs", "steps")):
                settings.pop("epochs", None), settings.pop("steps", None)
            settings |= wins
        source, target = settings.pop("data", None), settings.pop("out", None)
        if source is None:
            raise ConfigError("say what to learn from: nearfar fit DATA (a folder, a table or an .npz archive)")
        made = runs.fit(source, target, command=command_line(), **settings)
    if not is_first():
        return
    typer.echo(f"Run      {made.path}")
    if found := minings(made.history):
        typer.echo(f"\n{found}\n")
    assessment = assess_own(made, source) if evaluation else None
    if assessment is not None:
        typer.echo(f"\n{assessment}\n")
        assessment.save(as_json or made.path / "results.json")
    elif as_json is not None:
        typer.echo(f"nearfar: nothing was measured, so {as_json} was not written", err=True)
    typer.echo(f"Report   {reporting.write(made, assessment, None if assessment else made.read(source)[0])}")


_FIT_SETTINGS = {
    *("method", "encoder", "epochs", "steps", "batch_size", "micro_batch", "temperature", "lr", "optimiser", "seed"),
    *("size", "label_column", "path_column", "recipe", "device", "devices", "engine"),
}
