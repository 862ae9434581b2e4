"""nearfar compare."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .app import Number, Text, Where, Whole, app, command_line
from .settings import from_pairs


@app.command()
def compare(
    data: Annotated[str, typer.Argument(help="As for fit, or bundled:fashion, which comes with the package.")],
    methods: Annotated[
        Text,
        typer.Option(
            "--methods",
            "-m",
            help="With commas; with settings of its own as simclr:objective=DCL. All that take any data, if left out.",
        ),
    ] = None,
    budget: Annotated[Text, typer.Option(help="Training time of each method, such as 90s, 5m or 1h.")] = None,
    steps: Annotated[Whole, typer.Option(help="Updates of each method, in place of a time.")] = None,
    epochs: Annotated[Number, typer.Option(help="Passes over the data (10 when nothing else is given).")] = None,
    encoder: Annotated[Text, typer.Option(help="Of all methods; chosen by size when left out.")] = None,
    batch_size: Annotated[Whole, typer.Option(help="Items contrasted with each other.")] = None,
    lr: Annotated[Number, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, views and order.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="Train every method so often, with seeds from --seed on.", min=1)] = 1,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="[METHOD.]KEY=VALUE",
            help="Any other setting, of all methods or, as swav.epsilon=0.1, one.",
        ),
    ] = [],  # noqa: B006
    path_column: Annotated[Text, typer.Option(help="Column of file names in a table.")] = None,
    label_column: Annotated[Text, typer.Option(help="Column of labels in a table.")] = None,
    per_class: Annotated[Whole, typer.Option(help="Labels per class of the few-label probe; 10.", min=1)] = None,
    k: Annotated[Whole, typer.Option("-k", help="Neighbours that vote; 20.", min=1)] = None,
    out: Annotated[
        Where, typer.Option("--out", "-o", help="The folder; runs/<date>-compare when left out. Give it to go on.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Train several methods on equal terms, measure them on the same rows, and write one table and one page.

    The same command with the same --out goes on with what was interrupted, and adds methods that are new.
    """
    from .. import comparing

    shared, own = _by_method(set_)
    given = {"batch_size": batch_size, "lr": lr, "path_column": path_column, "label_column": label_column}
    shared |= {key: value for key, value in given.items() if value is not None}
    made = comparing.compare(
        data,
        _asked(methods),
        out,
        steps=steps,
        epochs=epochs,
        budget=budget,
        encoder=encoder,
        seeds=seeds,
        seed=seed,
        own=own,
        per_class=per_class,
        k=k,
        command=command_line(),
        on_step=lambda text: typer.echo(text, err=True),
        **shared,
    )
    typer.echo(made.markdown() if markdown else f"\n{made}\n")
    typer.echo(f"Figures  {made.out / 'compare.json'}\nPage     {made.out / 'compare.html'}", err=markdown)
    if all(line.found is None for line in made.lines if not line.baseline):
        raise typer.Exit(2)


def _asked(text: str | None) -> list[Any]:
    """Methods as they are typed: `simclr,simclr:objective=DCL:temperature=0.5,swav`."""
    if text is None:
        from ..methods import catalogue

        return [name for name, method in catalogue().items() if not (method.supervised or method.asks or method.taught)]
    asked: list[Any] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, *pairs = entry.split(":")
        wrong = [pair for pair in pairs if "=" not in pair]
        if wrong:
            raise ConfigError(f"--methods: {entry!r}: after the colon stands KEY=VALUE, not {wrong[0]!r}")
        asked.append((name, from_pairs(pairs)))
    return asked


def _by_method(pairs: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings of all, and by method those that are given as METHOD.KEY=VALUE."""
    shared: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    for key, value in from_pairs(pairs).items():
        method, dot, leaf = key.partition(".")
        if dot:
            own.setdefault(method, {})[leaf] = value
        else:
            shared[key] = value
    return shared, own
