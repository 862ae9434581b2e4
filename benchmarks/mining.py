"""Exact mining of hard negatives: time and peak memory of nearfar and sentence-transformers, a process each, in turn.

N queries against N documents, random unit float32 vectors; the query of each row lies near its document, which is its
positive. Five negatives of each query out of its 50 best candidates, at most 95 % as near as the positive. Both are
given the vectors, so that nothing is embedded. sentence-transformers is called as it comes (by torch, 16,384 queries at
a time) and with faiss; `semantic_search` finds the same candidates and filters nothing. Memory is the peak above what
the process had with its vectors in place.

    python -m benchmarks.mining                        100,000 x 100,000 x 384
    python -m benchmarks.mining --rows 20000 --width 128
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.ntxent import peak, reset

NEGATIVES, DEPTH, SHARE = 5, 50, 0.95
WAYS = ("nearfar", "nearfar float32", "sentence-transformers", "sentence-transformers faiss", "semantic_search")


def vectors(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and documents, unit rows."""
    rng = np.random.default_rng(0)
    corpus = rng.standard_normal((rows, width), dtype=np.float32)
    queries = corpus + rng.standard_normal((rows, width), dtype=np.float32)
    return tuple(side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, corpus))  # type: ignore[return-value]


class Given:
    """What the peer takes for a model: it has the vectors already."""

    device = "cpu"

    def __init__(self, queries: np.ndarray, corpus: np.ndarray) -> None:
        from sentence_transformers.util import cos_sim, pairwise_cos_sim

        self.queries, self.corpus = queries, corpus
        self.similarity, self.similarity_pairwise = cos_sim, pairwise_cos_sim

    def encode_query(self, texts: list[str], **how: Any) -> np.ndarray:
        return self.queries

    def encode_document(self, texts: list[str], **how: Any) -> np.ndarray:
        return self.corpus

    def get_embedding_dimension(self) -> int:
        return self.corpus.shape[1]


def work(way: str, queries: np.ndarray, corpus: np.ndarray) -> Callable[[], int]:
    """A whole mining, as a function that gives the number of negatives."""
    rows = len(queries)
    if way.startswith("nearfar"):
        from nearfar.mining import Exact, Mining, Near, Percentage

        near = np.stack([np.arange(rows)] * 2, axis=1)
        precision = "float32" if way.endswith("float32") else None

        def ours() -> int:
            miner = Exact(queries, corpus, precision=precision)
            known = Near(near, rows, rows)
            return len(Mining(miner, known, [Percentage(SHARE)], negatives=NEGATIVES, depth=DEPTH + 1).run())

        return ours
    if way == "semantic_search":
        import torch
        from sentence_transformers.util import semantic_search

        a, b = torch.from_numpy(queries), torch.from_numpy(corpus)
        return lambda: sum(map(len, semantic_search(a, b, top_k=DEPTH + 1)))
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    model: Any = Given(queries, corpus)
    pairs = Dataset.from_dict(
        {"anchor": [f"q{row}" for row in range(rows)], "positive": [f"d{row}" for row in range(rows)]}
    )

    def theirs() -> int:
        mined = mine_hard_negatives(
            pairs, model, num_negatives=NEGATIVES, range_max=DEPTH, relative_margin=1 - SHARE,
            use_faiss=way.endswith("faiss"), verbose=False,
        )  # fmt: skip
        return len(mined)

    return theirs


def measure(way: str, rows: int, width: int) -> dict[str, float]:
    """Seconds, seconds of processor and peak bytes, in this process."""
    work(way, *vectors(200, width))()
    step = work(way, *vectors(rows, width))
    before, used = reset(), resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    negatives = step()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"seconds": seconds, "processor": busy, "bytes": peak() - before, "negatives": negatives}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--limit", type=int, default=600, help="seconds for each")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.rows, given.width)))
        return
    print(f"{given.rows:,} x {given.rows:,} x {given.width}, {NEGATIVES} of {DEPTH}")
    size = ["--rows", str(given.rows), "--width", str(given.width)]
    for way in given.ways:
        command = [sys.executable, "-m", "benchmarks.mining", "--one", way, *size]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=given.limit)
        except subprocess.TimeoutExpired:
            print(f"{way:30} not done in {given.limit} s", flush=True)
            continue
        except subprocess.CalledProcessError as error:
            print(f"{way:30} failed: {error.stderr.strip().splitlines()[-1:]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{way:30} {found['seconds']:8.1f} s  {found['processor']:8.1f} s of processor  "
            f"{found['bytes'] / 2**20:8,.0f} MiB  {found['negatives']:,} lines",
            flush=True,
        )


if __name__ == "__main__":
    main()
