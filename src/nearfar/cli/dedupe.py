"""nearfar dedupe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .app import JSON, Number, Text, Where, app

STORE = Annotated[Path, typer.Argument(help="The folder of a store.")]
WHERE = Annotated[Text, typer.Option(help="Only rows that pass, as in SQL: \"label = 'cat' AND year > 2000\".")]
PAGE = Annotated[Where, typer.Option("--report", help="Write a page that shows the rows to this file.")]
TABLE = Annotated[Where, typer.Option("--out", help="Write a table of rows to this file, .csv or .json.")]
_FIRST, _WIDTH = 10, 60


@app.command()
def dedupe(
    store: STORE,
    threshold: Annotated[
        Number, typer.Option(help="Cosine from which two rows are duplicates; from the data when left out.")
    ] = None,
    grouping: Annotated[
        str, typer.Option(help="star: all near to the row that is kept; chain: connected by near pairs.")
    ] = "star",
    where: WHERE = None,
    out: TABLE = None,
    page: PAGE = None,
    drop: Annotated[bool, typer.Option("--drop", help="Take the rows that may go out of the store.")] = False,
    json_: JSON = None,
) -> None:
    """Find groups of nearly equal rows of a STORE, and which row of each to keep."""
    from ..curation import duplicates
    from ..curation.page import Line, write
    from ..curation.rows import shown, write_table
    from ..run import save
    from ..store import Store

    opened = Store.open(store)
    found = duplicates(opened, threshold, grouping, where)  # type: ignore[arg-type]
    how = "suggested by the data" if found.suggested else "given"
    typer.echo(f"cosine of at least {found.threshold:.4f}, {how}")
    first = found.groups[:_FIRST]
    seen = shown(opened, [one for group in first for one in (group.keep, group.drop[0])])
    for group in first:
        names = " | ".join(called(one, seen.get(one, {})) for one in (group.keep, group.drop[0]))
        typer.echo(f"{len(group.drop) + 1:6,}  {min(group.scores):.4f}  {names}")
    if len(found.groups) > _FIRST:
        typer.echo(f"   ... {len(found.groups) - _FIRST:,} more groups")
    typer.echo(f"{len(found.groups):,} groups; {len(found.drop):,} of {found.rows:,} rows may go")
    if out is not None:
        rows = [
            (number, one, kept, score)
            for number, group in enumerate(found.groups, 1)
            for one, kept, score in [
                (group.keep, "keep", 1.0),
                *zip(group.drop, ["drop"] * len(group.drop), group.scores, strict=True),
            ]
        ]
        typer.echo(f"Table    {write_table(out, ('group', 'id', 'what', 'cosine'), rows)}")
    if page is not None:
        lines = [
            Line(f"Group {number}", f"{len(group.drop) + 1} rows", [group.keep, *group.drop],
                 ["kept", *(f"{score:.4f}" for score in group.scores)], first=True)
            for number, group in enumerate(found.groups, 1)
        ]  # fmt: skip
        lead = (
            f"{len(found.groups):,} groups of rows with a cosine of at least {found.threshold:.4f} ({how}). The first "
            f"row of each, with a green edge, is kept; the other {len(found.drop):,} of {found.rows:,} may go."
        )
        typer.echo(f"Page     {write(page, opened, 'Near duplicates', lead, lines)}")
    if json_ is not None:
        save(json_, json.dumps(found.to_json(), indent=1).encode())
    if drop and found.drop:
        before = opened.version
        typer.echo(f"{opened.delete(found.drop):,} rows taken out; back with: nearfar store restore {store} {before}")


def called(name: str, row: dict[str, Any]) -> str:
    """What stands for a row on a line: its text, or its id."""
    text = " ".join(str(row.get("text") or name).split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
