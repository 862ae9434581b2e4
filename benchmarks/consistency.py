"""What a consistency filter keeps of pairs of which some are wrong (E5).

Definitions of the bundled reverse dictionary and their entries; of a share of the pairs, drawn by seed 0, the entries
change places. Each definition searches the entries of all pairs. Shares with Wilson's intervals (95 %): of the right
and of the wrong pairs, how many are kept; and of those that are kept, how many are right.

    python -m benchmarks.consistency
    python -m benchmarks.consistency --pairs 400 --encoder ngrams
"""

from __future__ import annotations

import argparse

import numpy as np

from nearfar.data import bundled
from nearfar.mining import Exact, Near, consistent, false_negatives
from nearfar.modalities.text.collection import read_collection
from nearfar.modalities.text.source import TextSource
from nearfar.opening import open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--wrong", type=float, default=0.3, help="share of the pairs")
    parser.add_argument("--encoder", default="minilm")
    given = parser.parse_args()
    found = read_collection(bundled.path("glosses"), split="test")
    first = np.unique(found.document_rows, return_index=True)[1][: given.pairs]  # an entry stands in one pair
    queries = [found.queries.columns["text"][row] for row in found.query_rows[first]]
    entries = [found.documents.columns["text"][row] for row in found.document_rows[first]]
    count, rng = len(queries), np.random.default_rng(0)
    moved = rng.permutation(count)[: round(given.wrong * count)]
    partner = np.arange(count)
    partner[moved] = np.roll(moved, 1)
    right, wrong = (Near([(q, partner[q]) for q in rows], count, count)
                    for rows in (np.setdiff1d(np.arange(count), moved), moved))  # fmt: skip
    near = Near(np.concatenate([right.pairs, wrong.pairs]), count, count)
    sources = TextSource({"query": queries}), TextSource({"document": entries})
    run = open_run(given.encoder, sources[1])
    miner = Exact(*(run.embed(source).vectors for source in sources))
    print(f"{count:,} pairs, {len(moved)} of them wrong, {given.encoder}")
    for among in (1, 2, 5, 20):
        kept = consistent(near, miner, among)
        shares = [false_negatives(*of.pairs.T, kept).short() for of in (right, wrong)]
        print(f"among {among}: kept of the right {shares[0]}, of the wrong {shares[1]}, "
              f"right of the kept {false_negatives(*kept.pairs.T, right).short()}")  # fmt: skip


if __name__ == "__main__":
    main()
