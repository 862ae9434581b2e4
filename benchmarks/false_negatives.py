"""How many mined negatives are false, with and without filters, on real texts whose duplicates are known.

Definitions of the bundled reverse dictionary ask for their entries. Each entry stands in the corpus three times: as it
is, in capitals with other punctuation, and with a tenth of its words left out. Only the first is known to be near; that
a negative is one of the other two, or another entry of the same definition, is a false negative.

    python -m benchmarks.false_negatives
    python -m benchmarks.false_negatives --queries 400 --encoder ngrams
"""

from __future__ import annotations

import argparse

import numpy as np

from nearfar.data import bundled
from nearfar.mining import Exact, Margin, Mining, Near, Percentage, Random, Ranks, SameText, false_negatives, text_keys
from nearfar.modalities.text.collection import read_collection
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run

NEGATIVES, DEPTH = 4, 100


def shortened(text: str, rng: np.random.Generator) -> str:
    """A text without a tenth of its words, one at least."""
    words = text.split()
    out = rng.choice(len(words), max(1, len(words) // 10), replace=False)
    return " ".join(word for place, word in enumerate(words) if place not in out) if len(words) > 1 else text + " too"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--encoder", default="minilm")
    given = parser.parse_args()
    found = read_collection(bundled.path("glosses"), split="test")
    chosen = found.query_rows < given.queries
    pairs = np.stack([found.query_rows[chosen], found.document_rows[chosen]], axis=1)
    queries = list(found.queries.columns["text"][: given.queries])
    rows, places = np.unique(pairs[:, 1], return_inverse=True)
    entries = [found.documents.columns["text"][row] for row in rows]
    rng = np.random.default_rng(0)
    corpus = [*entries, *(f"{text.upper()} !" for text in entries), *(shortened(text, rng) for text in entries)]
    count, size = len(queries), len(corpus)
    pairs = np.stack([pairs[:, 0], places], axis=1)
    copies = [pairs + np.array([0, copy * len(entries)]) for copy in range(3)]
    truth = Near(np.concatenate(copies), count, size)
    first = np.unique(pairs[:, 0], return_index=True)[1]
    known = Near(pairs[first], count, size)

    sources = TextSource({"query": queries}), TextSource({"document": corpus})
    run = open_run(given.encoder, sources[1])
    vectors = [run.embed(source).vectors for source in sources]
    keys = text_keys(queries), text_keys(corpus)
    ways = {
        "none": [],
        "duplicate text": [SameText(*keys)],
        "ranks from 11": [Ranks(11)],
        "margin 0.05": [Margin(0.05)],
        "percentage 0.95": [Percentage(0.95)],
        "duplicate text, percentage 0.95": [SameText(*keys), Percentage(0.95)],
        "duplicate text, percentage 0.80": [SameText(*keys), Percentage(0.80)],
    }
    print(f"{count:,} queries, {size:,} documents, {given.encoder}, {NEGATIVES} negatives of {DEPTH} candidates")
    for name, filters in [*ways.items(), ("random documents", None)]:
        sampler = {} if filters is not None else {"sampler": Random(), "depth": size}
        settings = {"negatives": NEGATIVES, "depth": DEPTH, **sampler}
        mined = Mining(Exact(vectors[0], vectors[1]), known, filters or [], **settings).run()
        rate = false_negatives(mined.query, mined.document, truth)
        short = mined.counts["short queries"]
        print(f"{name:34} {rate.short():24} mean score {mined.score.mean():.3f}, {short} queries short", flush=True)


if __name__ == "__main__":
    main()
