"""The command: nearfar fit, embed, evaluate, report, methods, objectives, demo."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
import yaml

from .errors import ConfigError, NearfarError
from .version import VERSION

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
PATHS = Annotated[Text, typer.Option(help="Column of file names in a table; that of the run when left out.")]
LABELS = Annotated[
    Text, typer.Option(help="Column of labels in a table; that of the run when left out, '' to look for one by name.")
]
SET = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, such as --set weight_decay=0.01.")
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"nearfar {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn vectors from data by contrast, measure them, and use them."""


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
    """Learn vectors from DATA into a run folder, or continue one with --resume."""
    from . import reporting
    from . import run as runs

    options = locals()
    given = {k: v for k, v in options.items() if k in (*_FIT_SETTINGS, "data", "out") and v is not None}
    if resume is not None:
        extra = [*given, *(["config"] if config else []), *set_]
        if extra:
            raise ConfigError(f"--resume continues a run with its own settings; leave out {', '.join(extra)}")
        made = runs.resume(resume)
        source = made.config["data"]
    else:
        settings = _from_file(config)
        for wins in (_from_pairs(set_), given):
            # The length is told in one of two ways; the later word on it replaces the earlier one.
            if any(wins.get(key) is not None for key in ("epochs", "steps")):
                settings.pop("epochs", None), settings.pop("steps", None)
            settings |= wins
        source, target = settings.pop("data", None), settings.pop("out", None)
        if source is None:
            raise ConfigError("say what to learn from: nearfar fit DATA (a folder, a table or an .npz archive)")
        made = runs.fit(source, target, command=_command(), **settings)
    typer.echo(f"Run      {made.path}")
    assessment = _assess_own(made, source) if evaluation else None
    if assessment is not None:
        typer.echo(f"\n{assessment}\n")
        assessment.save(as_json or made.path / "results.json")
    elif as_json is not None:
        typer.echo(f"nearfar: nothing was measured, so {as_json} was not written", err=True)
    typer.echo(f"Report   {reporting.write(made, assessment, None if assessment else made.read(source)[0])}")


_FIT_SETTINGS = {
    *("method", "encoder", "epochs", "steps", "batch_size", "micro_batch", "temperature", "lr", "optimiser", "seed"),
    *("size", "label_column", "path_column", "recipe", "device"),
}
_TEXTS = ("data", "out", "method", "encoder", "modality")
_NOT_SETTINGS = ("command", "progress")
_RUN_GROUPS = ("training", "method_options", "options")


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
    from .run import Run

    if out.exists() and data.exists() and out.samefile(data):
        raise ConfigError(f"{out} is the data themselves; write the vectors to another file with --out")
    made = Run.load(run).reading(**_columns(path_column, label_column))
    train, held = made.read(data)
    if test and held is None:
        raise ConfigError(f"{data} has no test part; leave out --test")
    if held is not None and not test:
        typer.echo(f"nearfar: the test part of {data} ({len(held)} items) is left out; --test embeds it", err=True)
    vectors = made.embed(held if held is not None and test else train, batch_size=batch_size)
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
    path_column: PATHS = None,
    label_column: LABELS = None,
    as_json: JSON = None,
) -> None:
    """Measure the vectors of a run on labelled DATA, beside raw features and the untrained encoder."""
    from . import assess, reporting
    from .evaluation import PROBES
    from .run import Run

    made = Run.load(run).reading(**_columns(path_column, label_column))
    chosen = [p.strip() for p in probes.split(",") if p.strip()] or list(PROBES)
    unknown = [p for p in chosen if p not in PROBES]
    if unknown:
        raise ConfigError(f"there is no probe {unknown[0]!r}; there are {', '.join(PROBES)}")
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
    source = made.config["data"]
    if not Path(source).exists():
        typer.echo(f"nearfar: no figures, map or neighbours, since the data are gone: {source}", err=True)
        typer.echo(f"Report   {reporting.write(made, path=out)}")
        return
    found = _assess_own(made, source)
    typer.echo(f"Report   {reporting.write(made, found, None if found else made.read(source)[0], out)}")


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


def _assess_own(run: Any, data: Any) -> Any:
    """The evaluation of a run on the data it was trained on, or None, which is said, where nothing can be scored."""
    from . import assess
    from .errors import DataError

    if len(run.config["source"].get("classes", [])) < 2:
        typer.echo("nearfar: not evaluated, since the data have no labels of two or more classes", err=True)
        return None
    try:
        return assess.evaluate(run, data, on_step=_say)
    except DataError as error:
        typer.echo(f"nearfar: not evaluated: {error} (see: nearfar evaluate --help)", err=True)
        return None


def _columns(path_column: str | None, label_column: str | None) -> dict[str, str | None]:
    """Columns that were named, an empty name for "none"."""
    named = {"path_column": path_column, "label_column": label_column}
    return {key: name or None for key, name in named.items() if name is not None}


def _options(method: Any) -> dict[str, Any]:
    return {
        key: {"default": field.default, "meaning": field.description}
        for key, field in method.Options.model_fields.items()
    }


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a configuration is a list of `setting: value` lines")
    if "format" in settings and all(isinstance(settings.get(group), dict) for group in _RUN_GROUPS):
        groups = [settings[group] for group in _RUN_GROUPS]
        settings = {key: settings.get(key) for key in ("data", "modality", "method", "encoder")}
        for group in groups:
            settings |= group
    return _checked({str(key).replace("-", "_"): value for key, value in settings.items()}, str(path))


def _checked(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Settings that can be passed on to `fit` by name."""
    for key in _NOT_SETTINGS:
        if key in settings:
            raise ConfigError(f"{where}: {key!r} is not a setting; leave it out")
    for key in _TEXTS:
        if not isinstance(settings.get(key), str | None):
            raise ConfigError(f"{where}: {key} is a text, not {settings[key]!r}")
    return {key: value for key, value in settings.items() if key not in _TEXTS or value is not None}


def _from_pairs(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not {pair!r}")
        settings[key.strip().replace("-", "_")] = _number(value)
    return _checked(settings, "--set")


def _number(text: str) -> Any:
    """YAML's reading of a value, which takes 1e-3 for a word."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set cannot read the value {text!r}; write a number, a word, true, false or null"
        ) from None
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


class _Once(logging.Filter):
    """Lets every message pass once: a command may read the same data for training, figures and report."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is new."""
        new = record.getMessage() not in self.said
        self.said.add(record.getMessage())
        return new


def main() -> None:
    """Run the command; what goes wrong is one line that says what and where, and the exit code says that it did."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("nearfar: %(message)s"))
    handler.addFilter(_Once())
    logging.getLogger("nearfar").handlers = [handler]
    warnings.showwarning = lambda message, *_: typer.echo(f"nearfar: {' '.join(str(message).split())}", err=True)
    try:
        app(standalone_mode=True)
    except NearfarError as error:
        from .training.stopping import Interrupted  # here, since it brings torch along

        stopped = isinstance(error, Interrupted)
        typer.echo(f"nearfar: {error}" if stopped else f"nearfar: error: {error}", err=True)
        sys.exit(130 if stopped else 2)
    except ImportError as error:
        typer.echo(f"nearfar: error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"nearfar: error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
