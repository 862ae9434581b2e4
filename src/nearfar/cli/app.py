"""What all commands share: the application, common options, how errors and progress are said."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ..errors import ConfigError, NearfarError
from ..version import VERSION

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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn vectors from data by contrast, measure them, and use them."""
    if context.invoked_subcommand != "fit" and int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ:
        raise ConfigError(f"torchrun is for nearfar fit; start nearfar {context.invoked_subcommand} without it")


def assess_own(run: Any, data: Any) -> Any:
    """The evaluation of a run on the data it was trained on, or None, which is said, where nothing can be scored."""
    from .. import assess
    from ..errors import DataError

    held = run.held_out()
    if held is not None:
        return assess.evaluate(run, held, on_step=say, words=_has_words(held))
    if len(run.config["source"].get("classes", [])) < 2:
        why = "since the data have no labels of two or more classes"
        if run.config["source"].get("views"):
            why = (
                "since these pairs were learned from; keep some out with --set held_out=0.1, or search among others "
                f"with: nearfar evaluate {run.path} DATA"
            )
        typer.echo(f"nearfar: not evaluated, {why}", err=True)
        return None
    try:
        return assess.evaluate(run, data, on_step=say)
    except DataError as error:
        typer.echo(f"nearfar: not evaluated: {error} (see: nearfar evaluate --help)", err=True)
        return None


def _has_words(source: Any) -> bool:
    """Whether BM25 can stand beside what was learned; what is missing is said."""
    if not hasattr(source, "columns") or source.targets is not None:
        return False
    try:
        import bm25s  # noqa: F401
    except ImportError:
        typer.echo("nearfar: without BM25 beside it, which needs: pip install 'nearfar[text]'", err=True)
        return False
    return True


def columns(path_column: str | None, label_column: str | None) -> dict[str, str | None]:
    """Columns that were named, an empty name for "none"."""
    named = {"path_column": path_column, "label_column": label_column}
    return {key: name or None for key, name in named.items() if name is not None}


def command_line() -> str:
    """The command as it was typed."""
    import shlex

    return shlex.join(["nearfar", *sys.argv[1:]])


def say(text: str) -> None:
    """Show a step of long work on a terminal, over the one before."""
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
        from ..training.stopping import Interrupted  # here, since it brings torch along
        from ..training.team import Elsewhere, is_first

        stopped = isinstance(error, Interrupted)
        if is_first() or not isinstance(error, Interrupted | Elsewhere):
            typer.echo(f"nearfar: {error}" if stopped else f"nearfar: error: {error}", err=True)
        sys.exit(130 if stopped else 2)
    except ImportError as error:
        typer.echo(f"nearfar: error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"nearfar: error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)
