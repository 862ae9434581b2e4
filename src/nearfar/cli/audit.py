"""nearfar audit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .app import SET, Number, Text, Where, Whole, app, say
from .settings import from_pairs

_audit = typer.Typer(
    help="Train on data made uneven on purpose, or along their own unevenness, and measure what it does.",
    no_args_is_help=True,
)
app.add_typer(_audit, name="audit")

_DATA = Annotated[str, typer.Argument(help="Labelled data, as for fit, or bundled:fashion.")]
_METHOD = Annotated[Text, typer.Option(help="Of all trainings. See: nearfar methods")]
_ENCODER = Annotated[Text, typer.Option(help="As for fit; chosen by size when left out.")]
_EPOCHS = Annotated[Number, typer.Option(help="Passes over the data (10 when steps is not given).")]
_STEPS = Annotated[Whole, typer.Option(help="Updates, in place of epochs.")]
_BATCH = Annotated[Whole, typer.Option(help="Items contrasted with each other.")]
_SEEDS = Annotated[int, typer.Option(help="Trainings of each kind, with seeds from --seed on.", min=1)]
_SEED = Annotated[int, typer.Option(help="The first seed.", min=0)]
_LABELS = Annotated[Text, typer.Option(help="Column of labels in a table.")]
_OUT = Annotated[
    Where, typer.Option("--out", "-o", help="The folder; runs/<date>-... when left out. Give it to go on.")
]


@_audit.command()
def harms(
    data: _DATA,
    rare: Annotated[str, typer.Option(help="The class that is made rare, by name or number.")] = "0",
    share: Annotated[float, typer.Option(help="Of its training rows that are left.")] = 0.01,
    method: _METHOD = "simclr",
    encoder: _ENCODER = None,
    epochs: _EPOCHS = None,
    steps: _STEPS = None,
    batch_size: _BATCH = None,
    seeds: _SEEDS = 3,
    seed: _SEED = 0,
    label_column: _LABELS = None,
    set_: SET = [],  # noqa: B006
    out: _OUT = None,
) -> None:
    """Make one class rare: how far it collapses onto others, and what that costs a linear classifier."""
    from ..auditing import audit_harms
    from ..auditing.rare import FIGURES
    from ..auditing.trainings import folder

    target = folder(out, "harms")
    settings = _given(
        set_, encoder=encoder, epochs=epochs, steps=steps, batch_size=batch_size, label_column=label_column
    )
    found = audit_harms(
        data, target, rare=rare, share=share, seeds=seeds, seed=seed, method=method or "simclr", on_step=say, **settings
    )
    typer.echo(f"\n{found}\n")
    typer.echo(f"Figures  {target / FIGURES}")


def _given(pairs: list[str], **options: Any) -> dict[str, Any]:
    """Settings that were typed; options win."""
    return from_pairs(pairs) | {key: value for key, value in options.items() if value is not None}
