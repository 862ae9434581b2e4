"""`nearfar mine` and `nearfar.mine`: from files to tables, with clear errors, and again after an interruption."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import nearfar
from nearfar.errors import ConfigError, DataError
from nearfar.mining.parts import alone
from nearfar.run import Run
from saying import Command

pytest.importorskip("tokenizers")

ANIMALS = ("cat", "dog", "elephant", "horse", "mouse", "whale", "sparrow", "lizard")
ENCODER = "ngrams-64"


def sentence(animal: str, form: int) -> str:
    return (f"what is a {animal} like", f"a {animal} is an animal", f"many people know the {animal} well")[form]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Anchors and positives; the last line repeats a positive in other letters."""
    path = tmp_path / "pairs.csv"
    rows = [(sentence(animal, 0), sentence(animal, 1)) for animal in ANIMALS]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("anchor", "positive"), *rows, (rows[0][0], rows[1][1].upper() + "!")])
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"{animal}-{form}", "text": sentence(animal, form)} for animal in ANIMALS for form in (1, 2)]
    queries = [{"_id": f"ask-{animal}", "text": sentence(animal, 0)} for animal in ANIMALS]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"ask-{animal}\t{animal}-1\t1" for animal in ANIMALS]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    return folder


def test_pairs_become_rows_to_learn_from(pairs: Path, tmp_path: Path, command: Command):
    out, training = tmp_path / "mined.csv", tmp_path / "training.csv"
    said = command("mine", ENCODER, pairs, "--out", out, "--training", training, "-n", 3, "--percentage", 0)
    assert said.code == 0, said.err
    assert "8 queries" in said.out and "known positive" in said.out
    rows = table(training)
    assert [(row["anchor"], row["positive"]) for row in rows] == sorted(
        [(row["anchor"], row["positive"]) for row in table(pairs)],
        key=lambda pair: [sentence(animal, 0) for animal in ANIMALS].index(pair[0]),
    )
    near = {(row["anchor"], row["positive"].lower().strip("!")) for row in rows}
    for row in rows:
        negatives = [row[f"negative_{number}"].lower().strip("!") for number in (1, 2, 3)]
        assert len(set(negatives)) == 3 and all((row["anchor"], text) not in near for text in negatives)
    record = json.loads((tmp_path / "mined.csv.json").read_text())
    assert record["settings"]["model"] == ENCODER and len(record["settings"]["model sha256"]) == 64
    assert not list(tmp_path.glob("*.parts")) and not list(tmp_path.glob("*.vectors"))
    run = nearfar.fit(
        training, tmp_path / "run", encoder=ENCODER, method="pairs", steps=1, batch_size=4, progress=False
    )
    again = nearfar.mine(run.path, pairs, out=tmp_path / "again.csv", negatives=2)
    assert again.counts["queries"] == len(ANIMALS)


def test_a_collection_with_words_a_guide_and_a_scorer(collection: Path, tmp_path: Path):
    pytest.importorskip("bm25s")
    out = tmp_path / "mined.csv"
    nearfar.mine(
        ENCODER, collection, out=out, miner=["exact", "bm25"], negatives=2, margin=0.0, percentage=None, removed=True,
        guide=lambda pairs: [float(one.split()[3] in other) - other.startswith("many") for one, other in pairs],
    )  # fmt: skip
    rows = table(out)
    removed = {(row["query"], row["document"]) for row in rows if row["reason"] == "known positive"}
    assert removed == {(f"ask-{animal}", f"{animal}-1") for animal in ANIMALS}
    assert {row["reason"] for row in rows} >= {"negative", "known positive"}
    assert any("exact:" in row["miner"] and "bm25:" in row["miner"] for row in rows)
    other = nearfar.mine(ENCODER, collection, out=tmp_path / "guided.csv", guide="ngrams-32", negatives=1)
    assert other.counts["queries"] == len(ANIMALS)


def test_vectors_need_no_run(tmp_path: Path, command: Command):
    rng = np.random.default_rng(0)
    queries, corpus = rng.normal(size=(5, 4)), rng.normal(size=(30, 4))
    np.save(tmp_path / "q.npy", queries), np.save(tmp_path / "c.npy", corpus)
    (tmp_path / "near.tsv").write_text("".join(f"{row}\t{row + 3}\t1\n" for row in range(5)) + "77\t1\t1\n")
    arguments = ["-", tmp_path / "c.npy", tmp_path / "q.npy", "--positives", tmp_path / "near.tsv", "--percentage", 0]
    said = command("mine", *arguments, "--out", tmp_path / "out.csv", "--sampler", "simans", "--set", "sharpness=10")
    assert said.code == 0, said.err
    assert "77" in said.err  # an id that nobody knows is said
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, corpus)]
    scores = unit[0] @ unit[1].T
    for row in table(tmp_path / "out.csv"):
        query, document = int(row["query"]), int(row["document"])
        assert document != query + 3
        assert float(row["score"]) == pytest.approx(scores[query, document], abs=1e-8)
        assert float(row["positive_score"]) == pytest.approx(scores[query, query + 3], abs=1e-8)
        assert int(row["rank"]) == 1 + (scores[query] > scores[query, document] + 1e-12).sum()


def test_what_was_embedded_is_not_embedded_again(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nearfar.sides.CHUNK", 4)
    settings = {"negatives": 2, "batch_size": 2, "percentage": None}
    nearfar.mine(ENCODER, pairs, out=tmp_path / "whole.csv", **settings)  # type: ignore[arg-type]
    embed, calls = Run.vectors_of, []

    def stops(self: Run, method, source, *rest):  # type: ignore[no-untyped-def]
        calls.append(len(source))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed(self, method, source, *rest)

    monkeypatch.setattr(Run, "vectors_of", stops)
    with pytest.raises(KeyboardInterrupt):
        nearfar.mine(ENCODER, pairs, out=tmp_path / "out.csv", **settings)  # type: ignore[arg-type]
    calls.extend([0] * 10)
    nearfar.mine(ENCODER, pairs, out=tmp_path / "out.csv", **settings)  # type: ignore[arg-type]
    # 8 queries and 4 documents were done; 9 documents are there
    assert calls[14:] == [4, 1]
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "out.csv.json").read_text() == (tmp_path / "whole.csv.json").read_text().replace("whole", "out")


def test_what_cannot_be_is_said(pairs: Path, collection: Path, tmp_path: Path, command: Command):
    np.save(tmp_path / "a.npy", np.ones((4, 3))), np.save(tmp_path / "b.npy", np.ones((4, 2)))
    (tmp_path / "strange.tsv").write_text("x\ty\t1\n")
    lone = tmp_path / "lone.txt"
    lone.write_text("one\ntwo\n")
    a, b, out = tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "out.csv"
    for arguments, words in (
        ([ENCODER, tmp_path / "none.csv"], "there is no"),
        (["-", a, b], "queries have width 2, the corpus 3"),
        (["-", a], "the queries are vectors too"),
        (["-", pairs], "say which run or encoder"),
        ([ENCODER, a, a], "need no run"),
        (["-", a, a, "--positives", tmp_path / "strange.tsv"], "no pair of a query and a document that there are"),
        (["-", a, a, "--depth", 9], "depth = 9 candidates asked of a corpus of 4"),
        (["-", a, a, "--miner", "bm26"], "unknown miner 'bm26'"),
        (["-", a, a, "--miner", "bm25"], "have no texts"),
        (["-", a, a, "--sampler", "best"], "unknown sampler"),
        (["-", a, a, "--sampler", "top", "--set", "bins=3"], "has no setting 'bins'"),
        ([ENCODER, lone], "needs queries"),
        ([ENCODER, pairs, "--split", "dev"], "split is for a folder"),
        ([ENCODER, collection, "--split", "dev"], "no judgments of the split"),
        (["-", a, a, "--out", tmp_path / "out.txt"], "the ending says what to write"),
    ):
        said = command("mine", *arguments, *([] if "--out" in arguments else ["--out", out]), "-n", 1)
        assert said.code == 2 and words in said.err, (arguments, said.err)
    with pytest.raises(ConfigError, match="is there already"):
        nearfar.mine(None, a, a, out=a.with_suffix(".csv") if a.with_suffix(".csv").write_text("x") else a)
    with pytest.raises(DataError, match="holds NaN"):
        np.save(a, np.full((4, 3), np.nan))
        nearfar.mine(None, a, a, out=tmp_path / "nan.csv", negatives=1)


def test_two_processes_do_not_mine_into_one_table(pairs: Path, tmp_path: Path, command: Command):
    out = tmp_path / "mined.csv"
    how = ("mine", ENCODER, pairs, "--out", out, "-n", 2, "--percentage", 0)
    with alone(out):
        said = command(*how)
    assert said.code == 2 and f"another process mines {out}" in said.err
    assert command(*how).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mined.csv", "mined.csv.json", "pairs.csv"]


def test_pairs_that_are_not_found_again_are_left_out_of_training(tmp_path: Path, command: Command):
    """Two of the pairs have each other's positives, which their words do not find."""
    rows = [(sentence(animal, 0), sentence(animal, 1)) for animal in ANIMALS]
    rows[0], rows[1] = (rows[0][0], rows[1][1]), (rows[1][0], rows[0][1])
    weak, training = tmp_path / "weak.csv", tmp_path / "training.csv"
    with open(weak, "w", newline="") as file:
        csv.writer(file).writerows([("anchor", "positive"), *rows])
    how = ("mine", "ngrams-256", weak, "--out", tmp_path / "mined.csv", "-n", 2, "--percentage", 0)
    said = command(*how, "--consistent", 1)
    assert said.code == 2 and "name that table, too" in said.err
    said = command(*how, "--consistent", 1, "--training", training)
    assert said.code == 0 and "pairs that queries do not find again: 2" in said.out, said.err
    assert [(row["anchor"], row["positive"]) for row in table(training)] == rows[2:]
    record = json.loads((tmp_path / "mined.csv.json").read_text())
    assert record["settings"]["consistent"] == 1 and len(table(tmp_path / "mined.csv")) == 16


def test_a_lock_whose_file_was_taken_away_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fcntl = pytest.importorskip("fcntl")
    out, lock = tmp_path / "mined.csv", fcntl.flock

    def late(file: IO[str], how: int) -> None:
        out.with_name("mined.csv.lock").unlink()  # by the process that held it until now
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ConfigError, match="another process"), alone(out):
        pass
