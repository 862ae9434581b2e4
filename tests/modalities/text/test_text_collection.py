"""Collections of queries, documents and judgments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar import modalities
from nearfar.errors import DataError
from nearfar.modalities.text.collection import Collection, read_collection
from nearfar.modalities.text.modality import TextOptions
from nearfar.modalities.text.reading import read, read_pair

DOCUMENTS = [("d1", "Cats", "sleep"), ("d2", "", "dogs  bark"), ("d3", "Owls", "fly by night"), ("4", "", "fish")]
QUERIES = [("q1", "who sleeps"), ("q2", "who barks"), ("q3", "who flies")]
JUDGED = {"train": [("q1", "d1", 1), ("q2", "d2", 2)], "test": [("q3", "d3", 2), ("q1", "d1", 1), ("q3", "4", 0)]}


def make(folder: Path, judged: dict[str, list[tuple[str, str, int]]] | None = None) -> Path:
    """A folder as in BEIR."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = [{"_id": name, "title": title, "text": text} for name, title, text in DOCUMENTS]
    queries = [{"_id": name, "text": text, "metadata": {}} for name, text in QUERIES]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, rows in (JUDGED if judged is None else judged).items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def judgments(collection: Collection) -> dict[str, dict[str, int]]:
    """As trec_eval takes them: query -> document -> grade, by their ids."""
    found: dict[str, dict[str, int]] = {}
    for query, document, grade in zip(collection.query_rows, collection.document_rows, collection.grades, strict=True):
        found.setdefault(collection.queries.names[query], {})[collection.documents.names[document]] = int(grade)
    return found


def test_a_folder_as_in_beir(tmp_path: Path):
    found = read_collection(make(tmp_path))
    assert found.split == "test" and judgments(found) == {"q1": {"d1": 1}, "q3": {"d3": 2, "4": 0}}
    assert found.documents.columns["text"] == ["Cats sleep", "dogs  bark", "Owls fly by night", "fish"]
    assert found.queries.columns["text"] == ["who sleeps", "who flies"]
    assert found.documents.names == ["d1", "d2", "d3", "4"] and found.documents.ids.tolist() == [0, 1, 2, 3]
    assert all(column.dtype == np.int64 for column in (found.query_rows, found.document_rows, found.grades))
    assert (np.diff(found.query_rows) >= 0).all()
    facts = found.describe()
    assert facts["splits"] == ["test", "train"] and facts["grades"] == {"0": 1, "1": 1, "2": 1}
    assert (facts["queries"], facts["documents"], facts["judgments"], facts["queries_not_judged"]) == (2, 4, 3, 1)
    assert json.loads(json.dumps(facts)) == facts
    assert repr(found) == "Collection(2 queries, 4 documents, 3 judgments of 'test')"
    assert judgments(modalities.find("text").collection(tmp_path, TextOptions(), "train")) == {
        "q1": {"d1": 1},
        "q2": {"d2": 2},
    }


def test_its_relevant_documents_are_pairs_to_learn_from(tmp_path: Path):
    assert modalities.recognise(make(tmp_path)).name == "text"
    train, test = read_pair(tmp_path)
    assert train.columns == {"anchor": ["who sleeps", "who barks"], "positive": ["Cats sleep", "dogs  bark"]}
    assert test.columns == {"anchor": ["who sleeps", "who flies"], "positive": ["Cats sleep", "Owls fly by night"]}
    assert train.describe()["task"] == "pairs" and train.describe()["views"] == 2
    shared = make(tmp_path / "shared", {"train": [("q1", "d1", 1), ("q1", "d2", 1), ("q2", "d2", 1), ("q3", "d3", 1)]})
    train, test = read_pair(shared)
    assert train.ids.tolist() == [0, 0, 0, 3] and test is None
    assert train.describe()["duplicates"] == 2 and train.describe()["largest_item"] == 3
    assert read(shared, duplicates="own-id").ids.tolist() == [0, 1, 2, 3]
    with pytest.raises(
        DataError, match=r"no judgments of the split 'train'; there are test\. To learn from the documents"
    ):
        read(make(tmp_path / "tested", {"test": JUDGED["test"]}))
    documents = read(tmp_path / "corpus.jsonl")
    assert documents.columns["text"] == ["Cats sleep", "dogs  bark", "Owls fly by night", "fish"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels/test.tsv", "q3\td3\t2\nq1\td1\t1\nq3\t4\t0\n"),
        ("qrels/test.trec", "q3 0 d3 2\nq1 0 d1 1\n\nq3 Q0 4 0\n"),
        ("qrels.txt", "q3 0 d3 2\nq1 0 d1 1\nq3 0 4 0\n"),
        ("qrels.dev.tsv", "query_id\tdoc_id\tgrade\nq3\td3\t2.0\nq1\td1\t1\nq3\t4\t0\n"),
        ("qrels.csv", "qid,docid,score\nq3,d3,2\nq1,d1,1\nq3,4,0\n"),
        ("qrels/validation.jsonl", "\n".join(
            json.dumps({"query-id": query, "corpus-id": int(document) if document == "4" else document, "score": grade})
            for query, document, grade in JUDGED["test"])),
    ],
)  # fmt: skip
def test_judgments_in_other_clothes(name: str, content: str, tmp_path: Path):
    make(tmp_path, {})
    (tmp_path / name).write_text(content)
    assert judgments(read_collection(tmp_path)) == {"q1": {"d1": 1}, "q3": {"d3": 2, "4": 0}}


def test_a_line_without_a_grade_says_relevant(tmp_path: Path):
    make(tmp_path, {})
    (tmp_path / "qrels.tsv").write_text("q1\td1\nq2\td2\n")
    assert judgments(read_collection(tmp_path)) == {"q1": {"d1": 1}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("file", "line", "place", "reason"),
    [
        ("qrels/test.tsv", "q1\td9\t1", ":5", "document 'd9' is not in corpus.jsonl"),
        ("qrels/test.tsv", "q9\td1\t1", ":5", "query 'q9' is not in queries.jsonl"),
        ("qrels/test.tsv", "q9\td9\t1", ":5",
         "query 'q9' is not in queries.jsonl and document 'd9' is not in corpus.jsonl"),
        ("qrels/test.tsv", "q1\td2\tvery", ":5", "the grade 'very' is not a whole number"),
        ("qrels/test.tsv", "q1\td2\t0.5", ":5", "the grade '0.5' is not a whole number"),
        ("qrels/test.tsv", "q1\td1\t3", ":5",
         "query 'q1' and document 'd1' are judged with grade 1 before, and now 3; the first is kept"),
        ("qrels/test.tsv", "q1\td1\t1", ":5", "query 'q1' and document 'd1' are judged again; the first is kept"),
        ("qrels/test.tsv", "q1", ":5", "1 words; a judgment is query, document and grade"),
        ("corpus.jsonl", '{"_id": "d1", "text": "other"}', ":5", "the id 'd1' stands before; the first is kept"),
        ("queries.jsonl", '{"_id": "q1", "text": "other"}', ":4", "the id 'q1' stands before; the first is kept"),
        ("corpus.jsonl", '{"_id": "d7", "title": "", "text": " "}', ":5", "'d7' has no text"),
        ("corpus.jsonl", '{"text": "nameless"}', ":5", "no id"),
        ("corpus.jsonl", '{"_id": "d7", "text": ["a"]}', ":5", "a list where a text should be"),
    ],
)  # fmt: skip
def test_faults_are_named_and_left_out_or_refused(file: str, line: str, place: str, reason: str, tmp_path: Path):
    path = make(tmp_path) / file
    path.write_text(path.read_text() + line + "\n")
    found = read_collection(tmp_path)
    assert judgments(found) == {"q1": {"d1": 1}, "q3": {"d3": 2, "4": 0}} and len(found.documents) == 4
    assert [(item.name, item.reason) for item in found.documents.skipped] == [(f"{path}{place}", reason)]
    assert found.describe()["skipped"] == 1
    strange = {"queries": {"ids": 1, "first": ["q9"]}, "documents": {"ids": 1, "first": ["d9"]}}
    assert found.describe()["unknown"] == {key: fact for key, fact in strange.items() if fact["first"][0] in line}
    with pytest.raises(DataError, match=r"Mend it, or leave such rows out"):
        read_collection(tmp_path, policy="refuse")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"corpus.jsonl": None},
            r"no collection: it has no corpus\. A collection is a folder with corpus\.jsonl, queries",
        ),
        ({"qrels/test.tsv": None, "qrels/train.tsv": None}, r"it has no qrels"),
        (
            {"corpus.jsonl": '{"name": "d1", "text": "a"}\n'},
            r"corpus\.jsonl: no column _id\. Columns there are: name, text",
        ),
        ({"queries.jsonl": '{"_id": "q1", "x": "a"}\n'}, r"queries\.jsonl: no column text\. Columns there are: _id, x"),
        ({"queries.jsonl": '{"_id": "q1", "text": ""}\n'}, r"queries\.jsonl: no row with an id and a text"),
        (
            {"qrels/test.tsv": "q7\td1\t1\n"},
            r"no judgment of a query and a document that there are; the first fault: .*'q7'",
        ),
    ],
)
def test_collections_that_are_none(change: dict[str, Any], message: str, tmp_path: Path):
    make(tmp_path)
    for name, content in change.items():
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_collection(tmp_path)


def test_a_split_that_is_not_there(tmp_path: Path):
    make(tmp_path)
    with pytest.raises(DataError, match="no judgments of the split 'hard'; there are test, train"):
        read_collection(tmp_path, split="hard")


def test_tables_without_headers_and_queries_of_each_split_as_in_ms_marco(tmp_path: Path):
    (tmp_path / "collection.tsv").write_text("7\tcats sleep\n8\tdogs bark\n9\t\n")
    (tmp_path / "queries.train.tsv").write_text("1\twho sleeps\n")
    (tmp_path / "queries.dev.tsv").write_text("2\twho barks\n3\twho flies\n")
    (tmp_path / "qrels.train.tsv").write_text("1\t0\t7\t1\n")
    (tmp_path / "qrels.dev.tsv").write_text("2\t0\t8\t1\n")
    found = read_collection(tmp_path)
    assert found.split == "dev" and judgments(found) == {"2": {"8": 1}}
    assert found.documents.names == ["7", "8"] and found.documents.columns["text"] == ["cats sleep", "dogs bark"]
    assert found.facts["skipped"] == 1 and found.facts["queries_not_judged"] == 1
    train, test = read_pair(tmp_path)
    assert train.columns["anchor"] == ["who sleeps"] and test is not None and test.columns["anchor"] == ["who barks"]
    (tmp_path / "queries.dev.tsv").write_text("name\twords\n2\twho barks\n")
    with pytest.raises(DataError, match="no column _id"):
        read_collection(tmp_path)
