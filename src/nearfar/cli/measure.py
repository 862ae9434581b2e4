"""nearfar evaluate and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .app import JSON, LABELS, PATHS, Where, app, assess_own, columns, say


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path, typer.Argument(help="Labelled data.")],
    test: Annotated[Where, typer.Option(help="Other data to score on.")] = None,
    probes: Annotated[str, typer.Option(help="Of knn, linear, fewshot, retrieval, geometry, with commas.")] = "",
    per_class: Annotated[int, typer.Option(help="Labels per class of the few-label probe.", min=1)] = 10,
    draws: Annotated[int, typer.Option(help="Draws of the few labels.", min=1)] = 5,
    k: Annotated[int, typer.Option("-k", help="Neighbours that vote.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Of splits and draws.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Also measure raw features and the untrained encoder.")] = True,
    page: Annotated[Where, typer.Option("--report", help="Also write a report page to this file.")] = None,
    path_column: PATHS = None,
    label_column: LABELS = None,
    as_json: JSON = None,
) -> None:
    """Measure the vectors of a run on labelled DATA, beside raw features and the untrained encoder."""
    from .. import assess, reporting
    from ..evaluation import PROBES
    from ..run import Run

    made = Run.load(run).reading(**columns(path_column, label_column))
    chosen = [p.strip() for p in probes.split(",") if p.strip()] or list(PROBES)
    unknown = [p for p in chosen if p not in PROBES]
    if unknown:
        raise ConfigError(f"there is no probe {unknown[0]!r}; there are {', '.join(PROBES)}")
    found = assess.evaluate(
        made, data, test, chosen, baselines=baselines, per_class=per_class, draws=draws, k=k, seed=seed, on_step=say
    )
    typer.echo(str(found))
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")
    if page is not None:
        typer.echo(f"Report   {reporting.write(made, found, path=page)}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Where, typer.Option("--out", "-o", help="The page; report.html in the run folder when left out.")
    ] = None,
) -> None:
    """Write the report page of a run again, with its evaluation where its data have labels."""
    from .. import reporting
    from ..run import Run

    made = Run.load(run)
    source = made.config["data"]
    if not Path(source).exists():
        typer.echo(f"nearfar: no figures, map or neighbours, since the data are gone: {source}", err=True)
        typer.echo(f"Report   {reporting.write(made, path=out)}")
        return
    found = assess_own(made, source)
    typer.echo(f"Report   {reporting.write(made, found, None if found else made.read(source)[0], out)}")
