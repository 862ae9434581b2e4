"""nearfar ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .app import Where, app
from .dedupe import PAGE, STORE, WHERE, called
from .label import K


@app.command()
def ask(
    store: STORE,
    answers: Annotated[Path, typer.Option(help="The table of answers, which is made or goes on: a, b, answer.")],
    count: Annotated[int, typer.Option(help="Questions.")] = 20,
    k: K = 10,
    where: WHERE = None,
    page: PAGE = None,
    out: Annotated[
        Where, typer.Option(help="Write what `fit` learns from the answers to this table, and ask nothing.")
    ] = None,
) -> None:
    """Ask which rows of a STORE are near, where the answer helps most: on a terminal, else in the table of answers."""
    from ..curation.asking import Answer, questions, read_answers, training_table, write_answers
    from ..curation.page import Line, write
    from ..curation.rows import shown
    from ..store import Store

    opened = Store.open(store)
    known = read_answers(answers)
    if out is not None:
        typer.echo(f"Table    {training_table(opened, known, out)}")
        return
    asked = questions(opened, known, count, k, where)
    seen = shown(opened, [name for one in asked for name in (one.a, one.b)])
    if page is not None:
        lines = [
            Line(
                f"Question {number}",
                f"cosine {one.score:.3f}, chance to be near {one.chance:.2f}",
                [one.a, one.b],
                ["", ""],
            )
            for number, one in enumerate(asked, 1)
        ]
        typer.echo(f"Page     {write(page, opened, 'Are these near?', 'Pairs whose answer helps most.', lines)}")
    if not asked:
        typer.echo("there is nothing left to ask")
    elif not sys.stdin.isatty():
        write_answers(answers, known, asked)
        typer.echo(f"{len(asked)} questions: write near or far into {answers}, and ask again")
    else:
        for number, one in enumerate(asked, 1):
            typer.echo(f"\n{number}  {called(one.a, seen[one.a])}\n   {called(one.b, seen[one.b])}")
            word = typer.prompt("near? y, n, s to skip, q to end", default="s").strip().lower()
            if word == "q":
                break
            if word in ("y", "n"):
                known.append(Answer(one.a, one.b, word == "y"))
                write_answers(answers, known)
        typer.echo(f"{len(known)} answers: {answers}")
