"""nearfar mine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import SET, Number, Text, Where, Whole, app
from .settings import from_pairs

_OF_SAMPLERS = ("within", "temperature", "sharpness", "below", "bins")


@app.command()
def mine(
    run: Annotated[str, typer.Argument(help="A run folder or an encoder by name; - where both sides are vectors.")],
    corpus: Annotated[
        Path, typer.Argument(help="What is searched: texts, pairs, a folder of corpus, queries and qrels, or .npy.")
    ],
    queries: Annotated[Where, typer.Argument(help="What asks; not needed for pairs and for such a folder.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write: .parquet, .jsonl, .csv.")] = Path(
        "negatives.parquet"
    ),
    training: Annotated[
        Where, typer.Option(help="Also write anchor, positive, negative_1 ..., which nearfar fit reads.")
    ] = None,
    positives: Annotated[Where, typer.Option(help="File of query, document and perhaps a grade in each line.")] = None,
    negatives: Annotated[int, typer.Option("--negatives", "-n", help="Of each query.", min=1)] = 5,
    depth: Annotated[Whole, typer.Option(help="Candidates of each query; 100 or more when left out.")] = None,
    miner: Annotated[str, typer.Option(help="One or several of exact, hnsw, ivf, bm25, with commas.")] = "exact",
    percentage: Annotated[
        float, typer.Option(help="Keep what scores at most this share of the positive; 0: all.")
    ] = 0.95,
    margin: Annotated[Number, typer.Option(help="Keep what scores so much less than the positive.")] = None,
    ceiling: Annotated[Number, typer.Option(help="Keep what scores less than this.")] = None,
    first: Annotated[int, typer.Option("--first-rank", help="Leave out the hardest, up to here.", min=1)] = 1,
    last: Annotated[Whole, typer.Option("--last-rank", help="Leave out what lies behind.")] = None,
    guide: Annotated[Text, typer.Option(help="A run or encoder whose scores the filters read.")] = None,
    sampler: Annotated[str, typer.Option(help="top, random, simans, gumbel, bins or mixture.")] = "top",
    similarity: Annotated[str, typer.Option(help="cosine or dot.")] = "cosine",
    removed: Annotated[bool, typer.Option("--removed", help="Write what was taken out too, with the reason.")] = False,
    consistent: Annotated[
        Whole, typer.Option(help="Leave pairs out of --training whose positive is not among so many nearest.", min=1)
    ] = None,
    split: Annotated[Text, typer.Option(help="Which qrels of a folder; train when left out.")] = None,
    modality: Annotated[Text, typer.Option(help="Of the data; recognised when left out.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows to embed at a time.", min=1)] = 512,
    seed: Annotated[int, typer.Option(help="Of the sampler.", min=0)] = 0,
    set_: SET = [],  # noqa: B006
) -> None:
    """Mine hard negatives: the documents that a run takes for near to a query, though they are not known to be.

    What may be near after all is filtered out and counted. Killed and started again, it goes on where it was.
    """
    from ..negatives import mine as mining

    given = from_pairs(set_)
    of_sampler: dict[str, Any] = {key: given.pop(key) for key in _OF_SAMPLERS if key in given}
    report = mining(
        None if run == "-" else run,
        corpus,
        queries,
        out=out,
        training=training,
        positives=positives,
        negatives=negatives,
        depth=depth,
        miner=[name.strip() for name in miner.split(",")],
        percentage=percentage,
        margin=margin,
        ceiling=ceiling,
        ranks=(first, last),
        guide=guide,
        sampler=sampler,
        sampler_options=of_sampler,
        similarity=similarity,  # type: ignore[arg-type]
        removed=removed,
        consistent=consistent,
        split=split,
        modality=modality,
        batch_size=batch_size,
        seed=seed,
        **given,
    )
    typer.echo(str(report))
    for name, lines in report.lines.items():
        typer.echo(f"{lines:,} lines: {report.out.with_name(name) if name == report.out.name else report.training}")
