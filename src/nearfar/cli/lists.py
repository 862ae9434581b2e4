"""nearfar methods and objectives."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import ConfigError
from .app import Text, app


@app.command()
def methods(
    name: Annotated[Text, typer.Argument(help="Show the whole recipe of one method.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print methods and objectives as JSON.")] = False,
    grid: Annotated[bool, typer.Option("--grid", help="Show which method runs on which kind of data.")] = False,
    axis: Annotated[
        bool, typer.Option("--axis", help="Show query, key, similarity, encoder, head, loss and more of every method.")
    ] = False,
    by: Annotated[Text, typer.Option("--by", metavar="AXIS", help="Group the methods by one of the axes.")] = None,
) -> None:
    """List the methods, or show one of them: near from, far from, objective, source."""
    from .. import methods as room
    from .. import objectives

    if axis or by:
        _axes(room.catalogue() if name is None else {name: room.find(name)}, by, as_json)
        return

    if grid:
        kinds = room.catalogue() if name is None else {name: room.find(name)}
        typer.echo("\n".join(_grid(kinds)))
        return
    if as_json:
        entries = {
            "methods": {
                n: {"near": m.near, "far": m.far, "source": m.source, "labels": m.supervised, "options": _options(m)}
                for n, m in room.catalogue().items()
            },
            "objectives": {
                n: {"formula": o.formula, "source": o.source, "unconfirmed": o.reconstructed}
                for n, o in objectives.catalogue().items()
            },
        }
        typer.echo(json.dumps(entries, indent=1))
    elif name is None:
        for n, m in room.catalogue().items():
            typer.echo(f"{n:<8} near: {m.near}; far: {m.far}; {m.source.split(',')[0]}")
        typer.echo("\nAround any of them, by --set:")
        for key, field in ((k, f) for group in room.AROUND.values() for k, f in group.model_fields.items()):
            typer.echo(f"{key:<16} {field.description}")
    else:
        typer.echo(_made(room.find(name)).describe())


@app.command()
def objectives(
    name: Annotated[Text, typer.Argument(help="Show one objective: formula, pieces, source.")] = None,
) -> None:
    """List the objectives, or show one of them."""
    from .. import objectives as room

    entries = room.catalogue()
    if name is None:
        width = max(map(len, entries))
        for n, kind in entries.items():
            mark = " [unconfirmed in part]" if kind.reconstructed else ""
            typer.echo(f"{n:<{width}} {(kind.__doc__ or '').strip().splitlines()[0]}{mark}")
        return
    if name not in entries:
        raise ConfigError(f"there is no objective {name!r}; there are {', '.join(entries)}")
    typer.echo(repr(entries[name]()))


def _made(kind: Any) -> Any:
    """A method by its defaults, on an encoder of width 256."""
    import torch

    class Encoder(torch.nn.Module):
        width = 256

    encoder: torch.nn.Module = Encoder()
    if "of_words" in kind.asks:
        from ..modalities.text.encoders import encoder as named

        _, encoder = named("gru-256")
    return kind(encoder, kind.Options(**{}))


def _axes(kinds: dict[str, Any], by: str | None, as_json: bool) -> None:
    """Every method axis by axis, or the methods of each value of one axis."""
    from ..methods import AXES, recipe_of

    if by is not None and by not in AXES:
        raise ConfigError(f"there is no axis {by!r}; there are {', '.join(AXES)}")
    recipes = {name: recipe_of(_made(kind)) for name, kind in kinds.items()}
    if by is None:
        if as_json:
            typer.echo(json.dumps({name: recipe.plain() for name, recipe in recipes.items()}, indent=1))
            return
        lines = []
        for name, recipe in recipes.items():
            lines += [name, *(f"  {axis:<13}{said}" for axis, said in recipe.axes.items())]
        typer.echo("\n".join(lines))
        return
    groups: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(recipe.axes[by], []).append(name)
    if as_json:
        typer.echo(json.dumps(groups, indent=1))
    else:
        typer.echo(f"{by}: {AXES[by]}\n" + "\n".join(f"  {said}: {', '.join(names)}" for said, names in groups.items()))


def _grid(kinds: dict[str, Any]) -> list[str]:
    """A line for each method, a column for each modality.

    A method knows no modality: it takes views, and says in `asks` what else they must offer, by the name of the
    attribute. So it runs wherever the views have that.
    """
    from .. import modalities

    columns = {name: get_type_hints(modalities.find(name).views)["return"] for name in modalities.NAMES}
    width = max(map(len, kinds)) + 2
    lines = ["".ljust(width) + "".join(name.ljust(14) for name in columns)]
    for name, kind in kinds.items():
        cells = []
        for views in columns.values():
            lacking = [asked for asked in getattr(kind, "asks", ()) if not hasattr(views, asked)]
            cells.append(f"no {', '.join(lacking)}" if lacking else "with labels" if kind.supervised else "yes")
        lines.append(name.ljust(width) + "".join(cell.ljust(14) for cell in cells))
    return [line.rstrip() for line in lines]


def _options(method: Any) -> dict[str, Any]:
    return {
        key: {"default": field.default, "meaning": field.description}
        for key, field in method.Options.model_fields.items()
    }
