"""The command: nearfar fit, embed, evaluate, report, methods, objectives, demo."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
import yaml

from .errors import ConfigError, NearfarError

app = typer.Typer(
    name="nearfar",
    help="Learn vectors from data by contrast, measure them, and use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# typer needs the old spelling of optional types on the oldest Python that is supported.
Text = Optional[str]  # noqa: UP045
Number = Optional[float]  # noqa: UP045
Whole = Optional[int]  # noqa: UP045
Where = Optional[Path]  # noqa: UP045

JSON = Annotated[Where, typer.Option("--json", help="Also write the figures to this file.")]
SET = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, such as --set weight_decay=0.01.")
]


@app.command()
def fit(
    data: Annotated[
        Where, typer.Argument(help="A folder of images, a CSV or Parquet table, or an .npz archive.")
    ] = None,
    method: Annotated[Text, typer.Option(help="simclr, or supcon where there are labels. See: nearfar methods")] = None,
    encoder: Annotated[
        Text, typer.Option(help="small, torchvision/NAME or timm/NAME; chosen by size when left out.")
    ] = None,
    epochs: Annotated[Number, typer.Option(help="Passes over the data (10 when steps is not given).")] = None,
    steps: Annotated[Whole, typer.Option(help="Updates, in place of epochs.")] = None,
    batch_size: Annotated[Whole, typer.Option(help="Items contrasted with each other.")] = None,
    micro_batch: Annotated[Whole, typer.Option(help="Rows encoded at a time, to bound memory.")] = None,
    temperature: Annotated[Number, typer.Option(help="Divides every score.")] = None,
    lr: Annotated[Number, typer.Option(help="Highest learning rate.")] = None,
    optimiser: Annotated[Text, typer.Option(help="adamw, sgd or lars.")] = None,
    seed: Annotated[Whole, typer.Option(help="Of weights, views and order.")] = None,
    size: Annotated[Whole, typer.Option(help="Side of the images in pixels.")] = None,
    label_column: Annotated[Text, typer.Option(help="Column of labels in a table.")] = None,
    path_column: Annotated[Text, typer.Option(help="Column of file names in a table.")] = None,
    recipe: Annotated[
        Text, typer.Option(help="Of the views: auto, simclr, simclr-small, mocov2, byol, digits.")
    ] = None,
    device: Annotated[Text, typer.Option(help="auto, cpu or cuda.")] = None,
    config: Annotated[Where, typer.Option(help="A YAML file of settings; options given here win over it.")] = None,
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
    """Learn vectors from DATA into a run folder, or continue one with --resume."""
    from . import reporting
    from . import run as runs

    given = {k: v for k, v in locals().items() if k in _FIT_SETTINGS and v is not None}
    if resume is not None:
        extra = [name for name in ("data", "config", "out") if locals()[name] is not None] + sorted(given) + set_
        if extra:
            raise ConfigError(f"--resume continues a run with its own settings; leave out {', '.join(extra)}")
        made = runs.resume(resume)
    else:
        settings = {**_from_file(config), **_from_pairs(set_), **given}
        source = data or settings.pop("data", None)
        settings.pop("data", None)
        if source is None:
            raise ConfigError("say what to learn from: nearfar fit DATA (a folder, a table or an .npz archive)")
        target = out or settings.pop("out", None)
        settings.pop("out", None)
        made = runs.fit(source, target, command=_command(), **settings)
    typer.echo(f"Run      {made.path}")
    assessment = _assess_own(made) if evaluation else None
    if assessment is not None:
        typer.echo(f"\n{assessment}\n")
        assessment.save(as_json or made.path / "results.json")
    typer.echo(
        f"Report   {reporting.write(made, assessment, None if assessment else made.read(made.config['data'])[0])}"
    )


_FIT_SETTINGS = {
    *("method", "encoder", "epochs", "steps", "batch_size", "micro_batch", "temperature", "lr", "optimiser", "seed"),
    *("size", "label_column", "path_column", "recipe", "device"),
}


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path, typer.Argument(help="What to embed.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")] = Path("vectors.npz"),
    batch_size: Annotated[int, typer.Option(help="Rows at a time.", min=1)] = 512,
) -> None:
    """Turn DATA into vectors with a trained run: an .npz of vectors, names, and labels where there are labels."""
    from .run import Run

    vectors = Run.load(run).embed(data, batch_size=batch_size)
    n, width = vectors.vectors.shape
    typer.echo(f"{n} vectors of width {width}: {vectors.save(out)}")


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
    as_json: JSON = None,
) -> None:
    """Measure the vectors of a run on labelled DATA, beside raw features and the untrained encoder."""
    from . import assess, reporting
    from .evaluation import PROBES
    from .run import Run

    made = Run.load(run)
    chosen = [p.strip() for p in probes.split(",") if p.strip()] or list(PROBES)
    found = assess.evaluate(
        made, data, test, chosen, baselines=baselines, per_class=per_class, draws=draws, k=k, seed=seed, on_step=_say
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
    from . import reporting
    from .run import Run

    made = Run.load(run)
    found = _assess_own(made)
    typer.echo(f"Report   {reporting.write(made, found, None if found else made.read(made.config['data'])[0], out)}")


@app.command()
def methods(
    name: Annotated[Text, typer.Argument(help="Show the whole recipe of one method.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print methods and objectives as JSON.")] = False,
) -> None:
    """List the methods, or show one of them: near from, far from, objective, source."""
    from . import methods as room
    from . import objectives

    if as_json:
        entries = {
            "methods": {
                n: {"near": m.near, "far": m.far, "source": m.source, "labels": m.supervised, "options": _options(m)}
                for n, m in room.catalogue().items()
            },
            "objectives": {n: {"formula": o.formula, "source": o.source} for n, o in objectives.catalogue().items()},
        }
        typer.echo(json.dumps(entries, indent=1))
    elif name is None:
        for n, m in room.catalogue().items():
            typer.echo(f"{n:<8} near: {m.near}; far: {m.far}; {m.source.split(',')[0]}")
    else:
        import torch

        kind = room.find(name)
        encoder = torch.nn.Identity()
        encoder.width = 256  # type: ignore[assignment]
        typer.echo(kind(encoder, kind.Options(**{})).describe())


@app.command()
def objectives(
    name: Annotated[Text, typer.Argument(help="Show one objective: formula, pieces, source.")] = None,
) -> None:
    """List the objectives, or show one of them."""
    from . import objectives as room

    entries = room.catalogue()
    if name is None:
        for n, kind in entries.items():
            typer.echo(f"{n:<18} {(kind.__doc__ or '').strip().splitlines()[0]}")
        return
    if name not in entries:
        raise ConfigError(f"there is no objective {name!r}; there are {', '.join(entries)}")
    typer.echo(repr(entries[name]()))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run, report.html and results.json.")] = Path(
        "demo"
    ),
    data: Annotated[Where, typer.Option(help="Other images in place of the bundled ones.")] = None,
    steps: Annotated[Whole, typer.Option(help="Shorten or lengthen the training.", min=1)] = None,
) -> None:
    """Run the main job on real pictures that come with the package, and write a report."""
    from .demo import demo as run_demo

    settings: dict[str, Any] = {} if steps is None else {"steps": steps, "epochs": None}
    _, found, page = run_demo(out, data, typer.echo, **settings)
    typer.echo(f"\n{found}\n\nFigures  {out / 'results.json'}\nReport   {page}")


def _assess_own(run: Any) -> Any:
    """The evaluation of a run on the data it was trained on, or None where there is nothing to score."""
    from . import assess
    from .errors import DataError

    if len(run.config["source"].get("classes", [])) < 2:
        return None
    try:
        return assess.evaluate(run, run.config["data"], on_step=_say)
    except DataError as error:
        typer.echo(f"Not evaluated: {error}", err=True)
        return None


def _options(method: Any) -> dict[str, Any]:
    return {
        key: {"default": field.default, "meaning": field.description}
        for key, field in method.Options.model_fields.items()
    }


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a configuration is a list of `setting: value` lines")
    return {str(key).replace("-", "_"): value for key, value in settings.items()}


def _from_pairs(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not {pair!r}")
        settings[key.strip().replace("-", "_")] = _number(value)
    return settings


def _number(text: str) -> Any:
    """YAML's reading of a value, which takes 1e-3 for a word."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _command() -> str:
    import shlex

    return shlex.join(["nearfar", *sys.argv[1:]])


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        if text.endswith("done"):
            sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def main() -> None:
    """Run the command; errors that nearfar raises on purpose are one line, and the exit code says that it failed."""
    from .training.stopping import Interrupted

    logging.basicConfig(format="nearfar: %(message)s", level=logging.WARNING)
    try:
        app(standalone_mode=True)
    except Interrupted as stop:
        typer.echo(f"nearfar: {stop}", err=True)
        sys.exit(130)
    except (NearfarError, ImportError) as error:
        typer.echo(f"nearfar: error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("nearfar: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
