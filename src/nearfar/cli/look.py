"""nearfar look."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .app import JSON, SET, Text, app
from .settings import from_pairs


@app.command()
def look(
    data: Annotated[str, typer.Argument(help="As for fit.")],
    modality: Annotated[Text, typer.Option(help="images, text or tables; recognised when left out.")] = None,
    set_: SET = [],  # noqa: B006
    as_json: JSON = None,
) -> None:
    """Say what DATA are: rows, texts, labels, what is left out and why, and which methods can learn from them."""
    from ..looking import look as looked
    from ..run import save

    found = looked(data, modality, **from_pairs(set_))
    typer.echo(str(found))
    if as_json is not None:
        save(as_json, json.dumps(found.to_json(), indent=1, ensure_ascii=False).encode())
