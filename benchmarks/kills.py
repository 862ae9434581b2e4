"""Kill what writes to a store, again and again at seeded moments: no row is lost, and none is there twice.

Two jobs: texts that are embedded into a store (`embed --store`, in blocks of 20 rows, so that there are many moments
between two writes and within one), and vectors that are appended to it (`Store.add`). A kill comes after a random
number of writes and up to 30 ms. After every kill the store is opened and looked at: as many rows as before or more,
every id once, every vector that of its id to the bit. At the end the job runs to its end, and the store holds what
one holds that was never killed.

    python -m benchmarks.kills --times 20
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nearfar.store import Store
from nearfar.store.place import TABLE, is_store

ROWS, BLOCK, WIDTH = 6000, 20, 64
JOBS = ("embed", "append")


def text(row: int) -> str:
    """Of a row."""
    return f"text number {row} of many"


def vectors(start: int) -> np.ndarray:
    """A block of rows that are appended."""
    return np.random.default_rng(start).standard_normal((BLOCK, WIDTH)).astype(np.float32)


def embed(path: Path) -> None:
    """The job that embeds, from where the store is to the end."""
    from nearfar.modalities.text.source import TextSource
    from nearfar.opening import open_run
    from nearfar.storing import embed_into

    source = TextSource({"text": [text(row) for row in range(ROWS)]})
    run = open_run("ngrams-64", TextSource({"text": ["a", "b"]}))
    print("begun", flush=True)
    embed_into(run, source, path, ids="name", block=BLOCK, batch_size=BLOCK, progress=False)


def append(path: Path) -> None:
    """The job that appends, from where the store is to the end."""
    store = Store.open(path) if is_store(path) else Store.create(path, WIDTH)
    print("begun", flush=True)
    for start in range(len(store), ROWS, BLOCK):
        store.add([text(row) for row in range(start, start + BLOCK)], vectors(start))


def content(path: Path) -> dict[str, str]:
    """Id -> checksum of its vector.

    Raises AssertionError where an id is there twice.
    """
    if not is_store(path):
        return {}
    store, found = Store.open(path), dict[str, str]()
    for batch in store.blocks(None, ["id", "vector"]):
        for one, vector in zip(batch["id"].to_pylist(), batch["vector"], strict=True):
            assert one not in found, f"{one} is there twice"
            found[one] = hashlib.sha256(np.array(vector.as_py(), np.float32).tobytes()).hexdigest()
    return found


def versions(path: Path) -> int:
    """How often the store was written to."""
    return sum(1 for _ in (path / f"{TABLE}.lance" / "_versions").glob("*.manifest"))


def begin(job: str, path: Path) -> subprocess.Popen[str]:
    """A job in a process of its own that has come to its work."""
    command = [sys.executable, "-m", "benchmarks.kills", "--one", job, "--folder", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def killed(job: str, folder: Path, times: int, seed: int = 0) -> list[int]:
    """Rows in the store after each kill; raises AssertionError where one is lost, changed or doubled."""
    whole, path, rng = content(_whole(job, folder)), folder / job, np.random.default_rng(seed)
    counts: list[int] = []
    for _ in range(times):
        before = counts[-1] if counts else 0
        writes, process = versions(path) + int(rng.integers(0, 16)), begin(job, path)
        while versions(path) < writes:
            assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(float(rng.uniform(0.0, 0.03)))  # between two writes or within one
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = content(path)
        assert len(held) >= before, f"{before} rows, and {len(held)} after the kill"
        assert len(held) % BLOCK == 0 and held.items() <= whole.items(), "a row is not what it should be"
        counts.append(len(held))
    assert begin(job, path).wait() == 0
    assert content(path) == whole, "the store is not that of a job that was never killed"
    return counts


def _whole(job: str, folder: Path) -> Path:
    path = folder / f"whole-{job}"
    assert begin(job, path).wait() == 0
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills of each job")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        {"embed": embed, "append": append}[given.one](given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        for job in given.jobs:
            counts = killed(job, Path(folder), given.times, given.seed)
            amid = sum(0 < one < ROWS for one in counts)
            print(f"{job}: killed {given.times} times, {amid} of them amid its rows; then {ROWS} rows, each once, "
                  f"checksums right. Rows after each kill: {' '.join(map(str, counts))}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
