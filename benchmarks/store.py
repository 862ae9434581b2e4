"""A store of a million vectors: ingest, bytes on disk, memory, and search beside faiss and hnswlib, a process each.

Vectors are made in blocks by a seed: a mixture of 1,000 Gaussians of width 32, turned into the whole width, with a
little noise, so that they are about as hard to index as those of encoders. Queries are further rows of the same kind;
the filter `bucket = 7` lets one row in a hundred through. Every way answers the same queries, one at a time (as many
of them as fit into 15 s, at least 10), and its recall@10 is against a comparison with every row in float32. Seconds
of the clock, with all cores: run it on a quiet machine. Memory is the peak of the whole process; while rows come in
it is shown after each quarter of them.

    python -m benchmarks.store                                      1,000,000 x 256, all but the slow index "hnsw"
    python -m benchmarks.store --rows 50000 --ways exact hnsw       some ways only
    python -m benchmarks.store --folder DIR --ways bits             the store is kept, and used again the next time
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ntxent import peak, reset

WIDTH, QUERIES, K, BLOCK = 256, 100, 10, 8192
FEWEST, SECONDS = 10, 15.0  # queries of each way at least, and how long it is asked more
CLUSTERS, INNER, BUCKETS, BUCKET = 1000, 32, 100, 7
OURS = ("exact", "bits", "int8", "binary", "128", "hnsw")  # exactly, by an index, by compact vectors, by an index
WAYS = (*OURS, "faiss flat", "faiss hnsw", "hnswlib")
PROMISE = 0.8
Search = Callable[[np.ndarray, bool], np.ndarray]


def made(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of length 1 and their buckets; a block is the same whatever other blocks there are."""
    frame, rng = np.random.default_rng(0), np.random.default_rng((1, seed))
    centres, turn = frame.standard_normal((CLUSTERS, INNER)), frame.standard_normal((INNER, WIDTH))
    inner = centres[rng.integers(CLUSTERS, size=count)] + 0.7 * rng.standard_normal((count, INNER))
    rows = (inner @ turn + 0.5 * rng.standard_normal((count, WIDTH))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), rng.integers(BUCKETS, size=count)


def blocks(rows: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, vectors and buckets of every block."""
    for number, start in enumerate(range(0, rows, BLOCK)):
        yield start, *made(min(BLOCK, rows - start), number + 1)


def questions() -> np.ndarray:
    """Rows of the same kind that are in no store."""
    return made(QUERIES, 0)[0]


def truth(rows: int) -> list[np.ndarray]:
    """(Q, k) nearest rows, of all and of those in the bucket."""
    asked, best = questions(), [np.full((2, QUERIES, 0), 0.0), np.full((2, QUERIES, 0), 0.0)]
    for start, vectors, buckets in blocks(rows):
        for place, mask in enumerate((np.ones(len(buckets), bool), buckets == BUCKET)):
            numbers = start + np.flatnonzero(mask)
            now = np.stack([asked @ vectors[mask].T, np.broadcast_to(numbers, (QUERIES, len(numbers)))])
            both = np.concatenate([best[place], now], axis=2)
            order = np.argsort(-both[0], axis=1)[:, :K]
            best[place] = np.stack([np.take_along_axis(part, order, 1) for part in both])
    return [one[1].astype(np.int64) for one in best]


def ingest(rows: int, folder: Path) -> dict[str, Any]:
    """Rows into a store, block by block."""
    from nearfar.store import Store

    store = Store.create(folder / "s", WIDTH, columns={"bucket": "int64"})
    seconds, quarters, before = 0.0, [], reset()
    with store.locked():
        for start, vectors, buckets in blocks(rows):
            ids = [f"row {row}" for row in range(start, start + len(vectors))]
            began = time.perf_counter()
            store.add(ids, vectors, {"bucket": buckets})
            seconds += time.perf_counter() - began
            if (start + len(vectors)) * 4 // rows > len(quarters):
                quarters.append(peak() / 2**20)
    return {"seconds": seconds, "before": before / 2**20, "quarters": quarters, "disk": disk(folder / "s")}


def disk(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def numbers(hits: list[list[Any]]) -> np.ndarray:
    """The rows that ids name."""
    return np.array([int(hit.id.split()[1]) for hit in hits[0]])


def ours(way: str, folder: Path) -> Search:
    """A search of the store, whose index or compact vectors are made first."""
    from nearfar.store import Store

    store, how = Store.open(folder / "s"), {}
    if way in ("bits", "hnsw"):
        print(store.build_index(way, PROMISE, 50), file=sys.stderr)
        how = {"approximate": True}
    elif way != "exact":
        print(store.compact_vectors(way), file=sys.stderr)
        how = {"compact": way}
    return lambda query, narrow: numbers(store.search(query, K, f"bucket = {BUCKET}" if narrow else None, [], **how))


def by_faiss(way: str, rows: int) -> Search:
    """faiss, in memory: every row, or a graph of 32 links; the filter inside."""
    import faiss

    index: Any
    if way == "faiss flat":
        index = faiss.IndexFlatIP(WIDTH)
    else:
        index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 40, 128
    chosen = []
    for start, vectors, buckets in blocks(rows):
        index.add(vectors)
        chosen.append(start + np.flatnonzero(buckets == BUCKET))
    selector = faiss.IDSelectorBatch(np.concatenate(chosen))
    kind = faiss.SearchParameters if way == "faiss flat" else faiss.SearchParametersHNSW
    narrowed = kind(sel=selector) if way == "faiss flat" else kind(sel=selector, efSearch=128)
    return lambda query, narrow: index.search(query[None], K, params=narrowed if narrow else None)[1][0]


def by_hnswlib(rows: int) -> Search:
    """hnswlib, in memory; its filter is a function of Python."""
    import hnswlib

    index = hnswlib.Index("ip", WIDTH)
    index.init_index(rows, M=16, ef_construction=64, random_seed=0)
    chosen: set[int] = set()
    for start, vectors, buckets in blocks(rows):
        index.add_items(vectors, np.arange(start, start + len(vectors)))
        chosen.update((start + np.flatnonzero(buckets == BUCKET)).tolist())
    index.set_ef(128)
    # With several threads its filter of Python waits for itself.
    return lambda query, narrow: index.knn_query(
        query[None], K, num_threads=1, filter=chosen.__contains__ if narrow else None
    )[0][0].astype(np.int64)


def measure(way: str, rows: int, folder: Path) -> dict[str, Any]:
    """One way in this process: what it makes, then every query one at a time, without and with the filter."""
    known = np.load(folder / "truth.npz")
    before, before_disk, began = reset(), disk(folder), time.perf_counter()
    search = ours(way, folder) if way in OURS else by_hnswlib(rows) if way == "hnswlib" else by_faiss(way, rows)
    found: dict[str, Any] = {"build": time.perf_counter() - began, "disk": disk(folder) - before_disk}
    for name, narrow in (("all", False), ("narrow", True)):
        search(questions()[0], narrow)
        times, shares = [], []
        for query, near in zip(questions(), known[name], strict=True):
            if len(times) >= FEWEST and sum(times) > 1000 * SECONDS:
                break
            began = time.perf_counter()
            answer = search(query, narrow)
            times.append(1000 * (time.perf_counter() - began))
            shares.append(len(set(answer.tolist()) & set(near.tolist())) / len(near))
        found[name] = [float(np.median(times)), float(np.quantile(times, 0.99)), float(np.mean(shares))]
    return {**found, "bytes": peak() - before}


def table(ways: dict[str, dict[str, Any] | str]) -> str:
    """Markdown: a line for each way."""
    lines = [
        "| search | made in s | on disk, MB | peak, MiB | median ms | 99th ms | recall@10 | 1 %: median ms | 99th ms "
        "| recall@10 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for way, found in ways.items():
        name = f"nearfar {way}" if way in OURS else way
        if isinstance(found, str):
            lines.append(f"| {name} | {found} |" + " |" * 8)
            continue
        cells = [f"{found['build']:.1f}", f"{found['disk'] / 1e6:.0f}", f"{found['bytes'] / 2**20:,.0f}"]
        cells += [cell for key in ("all", "narrow") for cell in
                  (f"{found[key][0]:.2f}", f"{found[key][1]:.2f}", f"{found[key][2]:.3f}")]  # fmt: skip
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def alone(task: str, rows: int, folder: Path, limit: int) -> dict[str, Any] | str:
    """A task in a process of its own; what went wrong as text."""
    command = [sys.executable, "-m", "benchmarks.store", "--one", task, "--rows", str(rows), "--folder", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"not done in {limit} s"
    except subprocess.CalledProcessError as error:
        return f"failed: {error.stderr.strip().splitlines()[-1:]}"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[way for way in WAYS if way != "hnsw"])
    parser.add_argument("--limit", type=int, default=120, help="seconds for each way, its making included")
    parser.add_argument("--folder", type=Path, help="where the store is kept, and found again by a later run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        found = ingest(given.rows, given.folder) if given.one == "ingest" else None
        print(json.dumps(found or measure(given.one, given.rows, given.folder)))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="nearfar-store-"))
    try:
        print(f"{given.rows:,} x {WIDTH}, {QUERIES} queries, one at a time\n", flush=True)
        if not (folder / "truth.npz").exists():
            found = alone("ingest", given.rows, folder, 4 * given.limit)
            if isinstance(found, str):
                sys.exit(f"ingest {found}")
            quarters = " ".join(f"{one:,.0f}" for one in found["quarters"])
            print(f"ingest: {given.rows / found['seconds']:,.0f} rows/s, {found['disk'] / 1e6:,.0f} MB on disk, peak "
                  f"after each quarter {quarters} MiB ({found['before']:,.0f} before)\n", flush=True)  # fmt: skip
            every, narrow = truth(given.rows)
            np.savez(folder / "truth.npz", all=every, narrow=narrow)
        ways = {}
        for way in given.ways:
            ways[way] = alone(way, given.rows, folder, given.limit)
            print(f"{way}: {ways[way]}", file=sys.stderr, flush=True)
        print(table(ways))
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
