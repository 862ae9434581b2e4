"""nearfar evaluate and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .app import JSON, LABELS, PATHS, Number, Text, Where, Whole, app, assess_own, columns, say
from .settings import from_pairs

PROBES = (
    "knn, linear, fewshot, retrieval, geometry (these when left out), clustering, episodes, finetune, dense; of pairs "
    "and collections similarity, pairs, search (what the data allow when left out); with commas."
)


@app.command()
def evaluate(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run folder, or an encoder by name: NAME:pretrained, NAME.")],
    data: Annotated[
        Where, typer.Argument(help="Labelled data, of any folder; for the dense probe with masks or transparency.")
    ] = None,
    test: Annotated[Where, typer.Option(help="Other data to score on.")] = None,
    probes: Annotated[str, typer.Option(help=PROBES)] = "",
    per_class: Annotated[
        Text, typer.Option(help="Labels per class of the few-label probe (10); several sizes as 1,5,10.")
    ] = None,
    draws: Annotated[Whole, typer.Option(help="Draws of the few labels (5).", min=1)] = None,
    k: Annotated[Whole, typer.Option("-k", help="Neighbours that vote (20).", min=1)] = None,
    clusters: Annotated[Whole, typer.Option(help="Groups of the clustering; as many as classes when left out.")] = None,
    finetune_steps: Annotated[Whole, typer.Option(help="Updates of fine-tuning (300).")] = None,
    finetune_per_class: Annotated[
        Whole, typer.Option(help="Labels per class of fine-tuning; all when left out.")
    ] = None,
    finetune_lr: Annotated[Number, typer.Option(help="Highest learning rate of fine-tuning (0.001).")] = None,
    backgrounds: Annotated[
        Where, typer.Option(help="Photographs on which the dense probe pastes pictures with transparency.")
    ] = None,
    seed: Annotated[Whole, typer.Option(help="Of splits, draws and fine-tuning (0).", min=0)] = None,
    baselines: Annotated[bool, typer.Option(help="Also measure raw features and the untrained encoder.")] = True,
    devices: Annotated[int, typer.Option(help="Embed the rows on so many devices, a process each.", min=1)] = 1,
    rerank: Annotated[
        Text, typer.Option(help="A run whose scores put in order what a search finds (its first 100).")
    ] = None,
    mteb: Annotated[
        Text,
        typer.Option(
            metavar="TASK,...",
            help="Tasks of MTEB in place of DATA, such as STSBenchmark. The package mteb fetches their data from the "
            "Hugging Face hub where they are not on this machine yet.",
        ),
    ] = None,
    out: Annotated[
        Where, typer.Option("--out", "-o", help="With --mteb: folder of results; mteb in the run folder when left out.")
    ] = None,
    page: Annotated[Where, typer.Option("--report", help="Also write a report page to this file.")] = None,
    path_column: PATHS = None,
    label_column: LABELS = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, such as --set finetune_batch_size=32."),
    ] = [],  # noqa: B006
    as_json: JSON = None,
) -> None:
    """Measure a run on labelled DATA, beside raw features and the untrained encoder; or texts on tasks of MTEB."""
    if mteb is not None:
        _refuse_others(context)
        return _on_tasks(run, mteb, out, from_pairs(set_), as_json)
    if data is None or out is not None:
        raise ConfigError("--out is of --mteb" if data else "say what to measure on: DATA, or --mteb TASK")
    from .. import assess, reporting
    from ..opening import open_run

    options = {
        **{"per_class": None if per_class is None else _sizes(per_class), "draws": draws, "k": k, "seed": seed},
        **{"clusters": clusters, "finetune_steps": finetune_steps, "finetune_lr": finetune_lr},
        "finetune_per_class": finetune_per_class,
    }
    settings = from_pairs(set_) | {key: value for key, value in options.items() if value is not None}
    chosen = [probe.strip() for probe in probes.split(",") if probe.strip()] or None
    if chosen:
        assess.check_probes(chosen)
    reading: dict[str, Any] = {**columns(path_column, label_column)}
    made = open_run(run, data, **reading)
    found = assess.evaluate(
        made,
        data,
        test,
        chosen,
        baselines=baselines,
        backgrounds=backgrounds,
        on_step=say,
        devices=devices,
        rerank=rerank,
        **settings,
    )
    typer.echo(str(found))
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")
    if page is not None:
        typer.echo(f"Report   {reporting.write(made, found, path=page)}")


def _refuse_others(context: typer.Context) -> None:
    """What was set beside --mteb and has no meaning for it."""
    for name in context.params.keys() - {"run", "mteb", "out", "set_", "as_json"}:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"--mteb brings its own data and measures; leave out {name.replace('_', '-')}")


def _on_tasks(run: str, names: str, out: Path | None, options: dict[str, Any], as_json: Path | None) -> None:
    """Tasks of MTEB; `options` are settings of texts."""
    from ..mteb import measure

    found = measure(run, [name.strip() for name in names.split(",") if name.strip()], out, on_step=say, **options)
    typer.echo(str(found))
    if found.out is not None:
        typer.echo(f"Results  {found.out}")
    if as_json is not None:
        typer.echo(f"Figures  {found.save(as_json)}")


def _sizes(text: str) -> int | list[int]:
    """`10` as it is, `1,5,10` as a list."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--per-class takes whole numbers with commas, such as 1,5,10, not {text!r}") from None
    return sizes[0] if len(sizes) == 1 else sizes


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
