"""nearfar ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .app import Text, Where, app, say
from .dedupe import PAGE, STORE, WHERE, called
from .label import K


@app.command()
def ask(
    store: STORE,
    answers: Annotated[Path, typer.Option(help="The table of answers, which is made or goes on: a, b, answer.")],
    count: Annotated[int, typer.Option(help="Questions, of each round.")] = 20,
    k: K = 10,
    where: WHERE = None,
    page: PAGE = None,
    out: Annotated[
        Where, typer.Option(help="Write what `fit` learns from the answers to this table, and ask nothing.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Which pairs: unsure, the least sure; grow, rows beside groups that grow; random.")
    ] = "unsure",
    rounds: Annotated[int, typer.Option(help="Rounds; each chooses by the answers of those before.", min=1)] = 1,
    oracle: Annotated[
        Text, typer.Option(help="A column of labels that answers in place of a person: near when they are equal.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of rows that are drawn.", min=0)] = 0,
) -> None:
    """Ask which rows of a STORE are near, where the answer helps most.

    A terminal, or a column of labels, answers at once; elsewhere questions are written into the table of answers. Every
    answer is on the disk before the next question; interrupt when you like, and ask again. Learn from the answers with:
    nearfar fit DATA --method pal --set answers=TABLE
    """
    from ..curation.asking import Enough, Question, ask_all, by_column, questions, training_table, write_answers
    from ..curation.page import Line, write
    from ..curation.rows import shown
    from ..data.answers import read_answers
    from ..store import Store

    opened = Store.open(store)
    known = read_answers(answers)
    if out is not None:
        typer.echo(f"Table    {training_table(opened, known, out)}")
        return
    if page is not None:
        asked = questions(opened, known, count, k, where, by, seed)  # type: ignore[arg-type]
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
    if oracle is None and not sys.stdin.isatty():
        asked = questions(opened, known, count, k, where, by, seed)  # type: ignore[arg-type]
        if asked:
            write_answers(answers, known, asked)
            typer.echo(f"{len(asked)} questions: write near or far into {answers}, and ask again")
        else:
            typer.echo("there is nothing left to ask")
        return

    put: list[Question] = []

    def person(question: Question) -> bool | None:
        seen = shown(opened, [question.a, question.b])
        typer.echo(f"\n{called(question.a, seen[question.a])}\n{called(question.b, seen[question.b])}")
        word = typer.prompt("near? y, n, s to skip, q to end", default="s").strip().lower()
        if word == "q":
            raise Enough
        return word == "y" if word in ("y", "n") else None

    told = person if oracle is None else by_column(opened, oracle)

    def heard(question: Question) -> bool | None:
        put.append(question)
        if oracle is not None:
            say(f"{len(put):,} questions")
        return told(question)

    try:
        ask_all(opened, answers, heard, count, k, where, by, rounds, seed)  # type: ignore[arg-type]
    finally:
        if put:
            said = len(read_answers(answers))
            typer.echo(f"{said} answers, {said - len(known)} of them new: {answers}")
        else:
            typer.echo("there is nothing left to ask")
