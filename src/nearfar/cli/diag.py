"""nearfar diag."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import JSON, SET, Text, Where, Whole, app, say
from .settings import from_pairs


@app.command()
def diag(
    name: Annotated[Text, typer.Argument(help="Which claim; all are listed when left out.")] = None,
    about: Annotated[bool, typer.Option("--about", help="Say what is claimed, by whom, and what can be set.")] = False,
    seeds: Annotated[Whole, typer.Option(help="Repetitions; intervals are over them.")] = None,
    set_: SET = [],  # noqa: B006
    page: Annotated[Where, typer.Option("--report", help="Also write a page with charts to this file.")] = None,
    as_json: JSON = None,
) -> None:
    """Measure a claim of contrastive theory, and say whether it holds here."""
    from .. import diagnosing

    if name is None:
        width = max(map(len, diagnosing.catalogue()))
        for one in diagnosing.catalogue().values():
            typer.echo(f"{one.name:<{width}}  {one.claim}")
        return
    diagnosis = diagnosing.find(name)
    if about:
        typer.echo(diagnosis.describe())
        return
    found = diagnosis(say, **from_pairs(set_), **({} if seeds is None else {"seeds": seeds}))
    typer.echo(str(found))
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")
    if page is not None:
        typer.echo(f"Report   {found.page(page)}")
