"""A server under load: throughput, latency and errors of many clients on this machine, and what it does when overrun.

Run: python -m benchmarks.serving [--seconds 60] [--clients 50] [--rows 5000] [--encoder minilm]
The server is a process of its own with its limits as they are, but for the rate of a client, since all of these have
one address. Each client asks again as soon as it is answered: half by words, the others for neighbours or for one row.
Clients and server share the processors, so that a server alone would be faster. To overrun it, four times as many
clients ask a second server, which has room for 8 requests; afterwards it must answer as before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.opening import open_run
from nearfar.store import Store
from nearfar.storing import embed_into

Request = tuple[str, str, Any]  # what it is called, path, JSON to send


@contextmanager
def serving(store: Path, *options: str) -> Iterator[int]:
    """A server of a store, and its port."""
    command = [sys.executable, "-m", "nearfar", "serve", str(store), "--port", "0", "--rate", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(timeout=60)


async def client(port: int, requests: Callable[[], Request], until: float, found: list[tuple[str, int, float]]) -> None:
    """Ask until it is time: what was asked, the status and the seconds go to `found`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        name, path, body = requests()
        content = b"" if body is None else json.dumps(body).encode()
        head = (f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n")  # fmt: skip
        began = time.perf_counter()
        writer.write(head.encode() + content)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        found.append((name, int(answer.split()[1]), time.perf_counter() - began))
    writer.close()


async def load(
    port: int, requests: Callable[[], Request], clients: int, seconds: float
) -> list[tuple[str, int, float]]:
    """What all clients were answered."""
    found: list[tuple[str, int, float]] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, requests, until, found) for _ in range(clients)))
    return found


def mixed(texts: list[str], ids: list[str]) -> Callable[[], Request]:
    """Requests at random, always the same ones."""
    rng = random.Random(0)

    def one() -> Request:
        kind = rng.random()
        if kind < 0.5:
            return "search by words", "/search", {"text": " ".join(rng.choice(texts).split()[:8]), "k": 10}
        if kind < 0.75:
            return "neighbours", f"/neighbours?id={rng.choice(ids)}&k=10", None
        return "one row", f"/row?id={rng.choice(ids)}", None

    return one


def table(found: list[tuple[str, int, float]], seconds: float) -> str:
    """Requests, rate and latency by kind."""
    lines = [f"{'':18}{'requests':>10}{'per second':>12}{'median ms':>11}{'99th ms':>10}{'errors':>8}"]
    for name in (*sorted({name for name, _, _ in found}), "all"):
        some = [(status, taken) for kind, status, taken in found if name in ("all", kind)]
        median, late = np.percentile([taken for _, taken in some], [50, 99]) * 1000
        wrong = sum(status != 200 for status, _ in some)
        lines.append(f"{name:18}{len(some):>10,}{len(some) / seconds:>12,.0f}{median:>11.1f}{late:>10.1f}{wrong:>8}")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and fail where a request failed or the server did not recover."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--encoder", default="minilm")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sentences.store"
        run = open_run(chosen.encoder, "bundled:sentences")
        source = run.read("bundled:sentences")[0]
        embed_into(run, source.select(np.arange(min(chosen.rows, len(source)))), place)
        store = Store.open(place)
        requests = mixed(store.column("text").to_pylist(), store.column("id").to_pylist())
        print(f"{len(store):,} rows of bundled:sentences, {chosen.encoder}, "
              f"{chosen.clients} clients for {chosen.seconds:g} s")  # fmt: skip
        with serving(place) as port:
            asyncio.run(load(port, requests, 4, 1))
            found = asyncio.run(load(port, requests, chosen.clients, chosen.seconds))
        print(table(found, chosen.seconds))
        with serving(place, "--waiting", "8") as port:
            many = asyncio.run(load(port, requests, 4 * chosen.clients, min(5, chosen.seconds)))
            after = asyncio.run(load(port, requests, 4, 1))
        counted, later = (Counter(status for _, status, _ in some) for some in (many, after))
        print(f"overrun by {4 * chosen.clients} clients, with room for 8: {dict(sorted(counted.items()))}")
        print(f"4 clients afterwards: {dict(later)}")
    good = all(status == 200 for _, status, _ in found) and counted.keys() <= {200, 503} and later.keys() == {200}
    return 0 if good and counted[503] else 1


if __name__ == "__main__":
    sys.exit(main())
