"""The whole of mining: against a plain loop, over blocks, in parts that can be killed, as files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.mining import Exact, Margin, Mining, Near, Percentage, SimANS, Top, false_negatives, groups, mine_into
from nearfar.mining.audit import wilson

Q, N, D = 60, 400, 8


def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    queries, corpus = rng.normal(size=(Q, D)), rng.normal(size=(N, D))
    corpus[0 : 3 * Q : 3] = queries + rng.normal(size=(Q, D)) * rng.uniform(0.1, 1.5, size=(Q, 1))
    return queries, corpus


def mining(**settings: object) -> Mining:
    queries, corpus = vectors()
    near = Near([(row, 3 * row) for row in range(Q - 1)], Q, N)
    given = {"filters": [Percentage(0.9)], "negatives": 4, "depth": 30, "block": 16, **settings}
    return Mining(Exact(queries, corpus), near, **given)  # type: ignore[arg-type]


def test_mining_is_a_plain_loop():
    queries, corpus = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in vectors())
    mined = mining(removed=True).run()
    counts = {"known positive": 0, "percentage": 0}
    for row in range(Q):
        scores = corpus @ queries[row]
        positive = 3 * row if row < Q - 1 else None
        limit = np.inf if positive is None else scores[positive]
        limit = 0.9 * limit if limit > 0 else limit - 0.1
        here = mined.query == row
        order = np.argsort(-scores)[:30]
        assert mined.document[here].tolist() == order.tolist()
        left = 4
        for document, reason, place in zip(order, mined.reason[here], range(1, 31), strict=True):
            if document == positive:
                expected = "known positive"
            elif scores[document] > limit:
                expected = "percentage"
            elif left:
                expected, left = "negative", left - 1
            else:
                expected = "not drawn"
            assert (mined.reasons[reason], mined.place[here][place - 1]) == (expected, place)
            if expected in counts:
                counts[expected] += 1
    assert {name: mined.counts[name] for name in counts} == counts
    assert mined.counts["queries without a positive"] == 1 and mined.counts["candidates"] == Q * 30
    short = [int((mined.reason[mined.query == row] == 0).sum()) for row in range(Q)]
    assert mined.counts["short queries"] == sum(number < 4 for number in short)


@pytest.mark.parametrize("sampler", [Top(), SimANS(30.0)])
def test_the_result_does_not_depend_on_the_block(sampler):  # type: ignore[no-untyped-def]
    one, other = (mining(sampler=sampler, block=size).run() for size in (60, 7))
    for name in ("query", "document", "score", "place", "near", "reason"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.counts == other.counts and len(one) > 0


def test_positive_aware_filters_lower_the_rate_of_false_negatives():
    """200 topics with three near documents each, of which one is known."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 32))
    corpus = np.repeat(centres, 3, axis=0) + 0.3 * rng.normal(size=(600, 32))
    queries = centres + 0.3 * rng.normal(size=(200, 32))
    truth = groups(np.arange(200), np.repeat(np.arange(200), 3))
    near = Near([(row, 3 * row) for row in range(200)], 200, 600)
    rates = {}
    for name, filters in (("none", []), ("margin", [Margin(0.1)])):
        mined = Mining(Exact(queries, corpus), near, filters, negatives=4, depth=50).run()
        chosen = mined.reason == 0
        rates[name] = false_negatives(mined.query[chosen], mined.document[chosen], truth)
        by_hand = np.mean(mined.document[chosen] // 3 == mined.query[chosen])
        assert rates[name].value == pytest.approx(by_hand)
    assert rates["none"].value == pytest.approx(0.5, abs=0.02) and rates["margin"].high < 0.1


def test_the_interval_of_wilson():
    from scipy.stats import binomtest

    for successes, n in ((0, 10), (3, 17), (50, 50)):
        known = binomtest(successes, n).proportion_ci(method="wilson")
        assert wilson(successes, n) == pytest.approx((known.low, known.high))
    with pytest.raises(DataError, match="no negatives"):
        false_negatives(np.array([]), np.array([]), Near([], 1, 1))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_an_interrupted_mining_ends_with_the_same_bytes(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    names = [f"q{row}" for row in range(Q)], [f"d{row}" for row in range(N)]

    def run(folder: Path) -> None:
        mine_into(mining(), folder / f"out{suffix}", *names, training=folder / f"train{suffix}", model="x")

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    run(whole)
    find = Exact.find
    for allowed in (1, 2):
        calls = []

        def stops(self: Exact, rows: np.ndarray, k: int, allowed: int = allowed, calls: list[int] = calls):  # type: ignore[no-untyped-def]
            calls.append(1)
            if len(calls) > allowed:
                raise KeyboardInterrupt
            return find(self, rows, k)

        monkeypatch.setattr(Exact, "find", stops)
        with pytest.raises(KeyboardInterrupt):
            run(broken)
        monkeypatch.setattr(Exact, "find", find)
    with pytest.raises(ConfigError, match="an unfinished mining of other data or settings"):
        mine_into(mining(seed=1), broken / f"out{suffix}", *names, model="x")
    run(broken)
    assert files(whole) == files(broken) and len(files(whole)) == 3
    with pytest.raises(ConfigError, match="is there already"):
        run(whole)


def test_what_stands_in_the_files(tmp_path: Path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    queries, documents = [f"q{row}" for row in range(Q)], [f"d, {row}" for row in range(N)]
    report = mine_into(mining(), tmp_path / "out.parquet", queries, documents, training=tmp_path / "train.csv")
    mined = mining().run()
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["query"] == [f"q{row}" for row in mined.query]
    assert table["document"] == [f"d, {row}" for row in mined.document]
    assert table["score"] == mined.score.tolist() and set(table["reason"]) == {"negative"}
    assert table["miner"][0] == f"exact:{table['rank'][0]}"
    lone = [near for query, near in zip(table["query"], table["positive_score"], strict=True) if query == "q59"]
    assert lone and set(lone) == {None}
    with open(tmp_path / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    by_query = {row["anchor"]: row for row in rows}
    assert list(rows[0]) == ["anchor", "positive", "negative_1", "negative_2", "negative_3", "negative_4"]
    assert "q59" not in by_query  # it has no positive
    negatives = mined.negatives(np.arange(Q), 4)
    assert set(by_query) == {f"q{row}" for row in range(Q - 1) if negatives[row, 0] >= 0} and len(by_query) > 20
    for name, row in by_query.items():
        expected = [f"d, {document}" if document >= 0 else "" for document in negatives[int(name[1:])]]
        assert [row[f"negative_{number}"] for number in range(1, 5)] == expected
        assert row["positive"] == f"d, {3 * int(name[1:])}"
    record = json.loads((tmp_path / "out.parquet.json").read_text())
    assert record["counts"] == mined.counts == report.counts
    assert record["settings"]["filters"][1] == {"name": "percentage", "share": 0.9}
    assert len(record["settings"]["miner"]["corpus sha256"]) == 64
    assert "removed as percentage" in str(report)


SCRIPT = """
import sys, numpy as np, time
sys.path[:0] = {path!r}
from test_mining import mining, Q, N
from nearfar.mining import mine_into, Exact
find = Exact.find
Exact.find = lambda self, rows, k: (time.sleep(0.05), find(self, rows, k))[1]
mine_into(mining(block=2), sys.argv[1], list(range(Q)), list(range(N)))
"""


@pytest.mark.slow
def test_kill_9_loses_nothing(tmp_path: Path):
    script = SCRIPT.format(path=[str(Path(__file__).parent), *sys.path])

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, str(out)], env={**os.environ, "OMP_NUM_THREADS": "1"})

    whole, broken = tmp_path / "whole" / "out.jsonl", tmp_path / "broken" / "out.jsonl"
    mine_into(mining(block=2), whole, list(range(Q)), list(range(N)))
    parts, seen = broken.with_name("out.jsonl.parts"), 0
    for more in (3, 11):
        process = start(broken)
        while process.poll() is None and len(list(parts.glob("*.npz"))) < seen + more:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen = len(list(parts.glob("*.npz")))
        assert not broken.exists() and seen
    assert start(broken).wait() == 0
    assert files(whole.parent) == files(broken.parent)


def test_impossible_minings_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="depth = 500 candidates asked of a corpus of 400"):
        mining(depth=500)
    with pytest.raises(ConfigError, match="fewer than 4 negatives"):
        mining(depth=3)
    with pytest.raises(ConfigError, match="negatives must be 1 or more"):
        mining(negatives=0)
    with pytest.raises(ConfigError, match="the ending says what to write"):
        mine_into(mining(), tmp_path / "out.txt", [], [])
    queries, corpus = vectors()
    with pytest.raises(DataError, match="the positives are of"):
        Mining(Exact(queries, corpus), Near([], 1, 1))
    with pytest.raises(ConfigError, match="known positives"):
        mine_into(Mining(Exact(queries, corpus)), tmp_path / "a.csv", [], [], training=tmp_path / "b.csv")
