"""nearfar demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .app import Text, Where, Whole, app


@app.command()
def demo(
    what: Annotated[Literal["pictures", "text"], typer.Argument(help="What to learn from.")] = "pictures",
    out: Annotated[Where, typer.Option("--out", "-o", help="Folder for runs, report.html and results.json.")] = None,
    data: Annotated[
        Where, typer.Option(help="Other images, or another collection of texts, than those bundled.")
    ] = None,
    steps: Annotated[Whole, typer.Option(help="Shorten or lengthen the training.", min=1)] = None,
    encoder: Annotated[Text, typer.Option(help="Where training starts: of texts minilm or ngrams, say.")] = None,
) -> None:
    """Run the main job on real data that come with the package, and write a report.

    pictures: SimCLR on pictures of clothes, measured beside raw pixels and the untrained encoder.
    text: search by meaning, learned from pairs and mined negatives, beside BM25 and the untouched encoder.
    """
    settings: dict[str, Any] = {} if steps is None else {"steps": steps, "epochs": None}
    if what == "text":
        _text(out or Path("demo-text"), data, encoder or "minilm", settings)
        return
    from ..demo import demo as run_demo

    out = out or Path("demo")
    settings |= {} if encoder is None else {"encoder": encoder}
    _, found, page = run_demo(out, data, typer.echo, **settings)
    typer.echo(f"\n{found}\n\nFigures  {out / 'results.json'}\nReport   {page}")


def _text(out: Path, data: Path | None, encoder: str, settings: dict[str, Any]) -> None:
    from ..demo_text import demo as run_demo
    from ..demo_text import verdict

    systems, gains, page = run_demo(out, data, encoder, typer.echo, **settings)
    typer.echo("")
    for name, system in systems.items():
        typer.echo(
            "  ".join([f"{name:10}", *(f"{key} {metric.short()}" for key, metric in system.quality.metrics.items())])
        )
    for name, gain in gains.items():
        typer.echo(f"nDCG@10 against {name}: {gain}")
    typer.echo(f"\n{verdict(gains)}\n\nFigures  {out / 'results.json'}\nReport   {page}")
