"""Reading of texts: what each layout of data becomes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar import modalities
from nearfar.modalities.text.items import ids_of_pairs, ids_of_texts
from nearfar.modalities.text.reading import read, read_pair, read_texts
from nearfar.modalities.text.source import TextSource
from nearfar.modalities.text.strings import Strings

ODD = ["near", "", "fär 🦔", "a\nb", "x" * 5000, "e\u0301"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as the ending of the file says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif path.suffix in (".csv", ".tsv"):
        import csv

        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writerows([names, *([row.get(name) for name in names] for row in rows)])
    else:
        import pyarrow as pa
        import pyarrow.ipc
        import pyarrow.parquet as pq

        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        if path.suffix == ".parquet":
            pq.write_table(table, path, row_group_size=2)
        elif path.stem.endswith("stream"):
            with pa.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as made:
                made.write_table(table)
        else:
            with pa.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as made:
                made.write_table(table)
    return path


def texts_of(source: TextSource) -> dict[str, list[str]]:
    return {name: list(column) for name, column in source.columns.items()}


def test_strings_are_a_list_in_two_arrays():
    strings = Strings.of(ODD)
    assert list(strings) == ODD and strings == ODD and len(strings) == 6 and strings != ODD[:5]
    assert [strings[row] for row in range(-6, 6)] == ODD + ODD
    assert list(strings[1:4]) == ODD[1:4] and list(strings[np.array([5, 0, 0])]) == [ODD[5], ODD[0], ODD[0]]
    assert list(strings[np.array([True, False] * 3)]) == ODD[::2]
    assert strings.sizes.tolist() == [len(text.encode()) for text in ODD]
    assert list(pickle.loads(pickle.dumps(strings))) == ODD
    assert list(Strings.of(["a\ud800b", "\ud83e\udd94"])) == ["a\ufffdb", "🦔"]
    assert len(Strings.of([])) == 0 and list(Strings.of([])[[]]) == []
    with pytest.raises(IndexError):
        strings[6]


def test_a_source_is_the_same_from_lists_and_from_strings():
    kept, held = TextSource({"text": ODD}), TextSource({"text": Strings.of(ODD)})
    assert kept.fingerprint() == held.fingerprint()
    order = np.array([3, 0])
    assert kept.select(order).fingerprint() == held.select(order).fingerprint() != kept.fingerprint()
    assert held.rows(order).columns == kept.rows(order).columns == ((["a\nb", "near"]),)
    assert held.rows(slice(0, 2)).columns == (["near", ""],)
    labelled = [
        TextSource({"text": ["a", "b"]}, labels=np.array(labels), classes=["x", "y"]) for labels in ([0, 1], [1, 0])
    ]
    assert len({source.fingerprint() for source in (*labelled, TextSource({"text": ["a", "b"]}))}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", "stream.arrow"])
def test_every_kind_of_table_gives_the_same_rows(suffix: str, tmp_path: Path):
    rows = [
        {"_id": "1", "Question": "Who wrote it, and when?", "answer": 'Ada "Countess"\nLovelace', "negative": None},
        {"_id": "2", "Question": "  When was it?", "answer": "1843", "negative": "In 1815 "},
        {"_id": "3", "Question": "Where?", "answer": "fern", "negative": ""},
    ]
    source = read(write(tmp_path / f"t{suffix}", rows))
    assert texts_of(source) == {
        "anchor": ["Who wrote it, and when?", "When was it?", "Where?"],
        "positive": ['Ada "Countess"\nLovelace', "1843", "fern"],
        "negative": ["", "In 1815", ""],
    }
    facts = source.describe()
    assert facts["task"] == "pairs with negatives" and facts["views"] == 3 and facts["unused_columns"] == ["_id"]
    assert facts["from"] == {"anchor": "Question", "positive": "answer", "negative": "negative"}
    assert facts["lengths"]["negative"] == {"texts": 1, "shortest": 7, "median": 7, "95 %": 7, "longest": 7}
    assert source.rows(np.array([1])).columns == (["When was it?"], ["1843"], ["In 1815"])


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open), (".zst", None)]
)
def test_packed_files_are_unpacked(suffix: str, pack: Callable[..., Any] | None, tmp_path: Path):
    path = tmp_path / f"t.csv{suffix}"
    if pack is None:
        import pyarrow as pa

        pack = lambda path, _: pa.output_stream(str(path), compression="zstd")  # noqa: E731
    with pack(path, "wb") as file:
        file.write("text,label\nfär weg,1\nnah,0\n".encode())
    source = read(path)
    assert texts_of(source) == {"text": ["fär weg", "nah"]} and source.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("row", "found", "task"),
    [
        ({"text": "a b", "label": "x"}, {"text": "text"}, "texts with labels"),
        ({"Sentence": "a b", "score": 0.5}, {"text": "Sentence"}, "texts"),
        ({"whatever": "a b"}, {"text": "whatever"}, "texts"),
        ({"sentence1": "a", "sentence2": "b", "label": 0.5}, {"anchor": "sentence1", "positive": "sentence2"},
         "graded pairs"),
        ({"text_a": "a", "text_b": "b", "similarity": 3}, {"anchor": "text_a", "positive": "text_b"}, "graded pairs"),
        ({"premise": "a", "hypothesis": "b", "label": 2}, {"anchor": "premise", "positive": "hypothesis"},
         "pairs with labels"),
        ({"sent0": "a", "sent1": "b", "hard_neg": "c"},
         {"anchor": "sent0", "positive": "sent1", "negative": "hard_neg"}, "pairs with negatives"),
        ({"query": "a", "pos": ["b"], "neg": ["c"]}, {"anchor": "query", "positive": "pos", "negative": "neg"},
         "pairs with negatives"),
        ({"anchor": "a", "entailment": "b", "contradiction": "c"},
         {"anchor": "anchor", "positive": "entailment", "negative": "contradiction"}, "pairs with negatives"),
        ({"query": "a", "passage": "b", "negative_1": "c", "negative-2": "d"},
         {"anchor": "query", "positive": "passage", "negative": "negative_1", "negative_2": "negative-2"},
         "pairs with negatives"),
        ({"question": "a b", "text": "c"}, {"anchor": "question", "positive": "text"}, "pairs"),
        ({"_id": "d", "title": "a", "text": "b"}, {"text": "text"}, "texts"),
    ],
)  # fmt: skip
def test_columns_are_known_by_their_names(row: dict[str, Any], found: dict[str, str], task: str, tmp_path: Path):
    facts = read(write(tmp_path / "t.jsonl", [row, row])).describe()
    assert facts["from"] == found and facts["task"] == task


def test_columns_are_what_the_user_says(tmp_path: Path):
    row = {"text": "a", "label": "1", "left": "b", "right": "c", "worse": "d", "grade of it": "0.25", "kind": "k"}
    path = write(tmp_path / "t.csv", [row])
    pairs = read(
        path, anchor_column="left", positive_column="right", negative_columns=["worse"], score_column="grade of it"
    )
    assert texts_of(pairs) == {"anchor": ["b"], "positive": ["c"], "negative": ["d"]} and pairs.targets.tolist() == [
        0.25
    ]
    texts = read(path, text_column="left", label_column="kind")
    assert texts_of(texts) == {"text": ["b"]} and texts.classes == ["k"]
    assert read(path, label_column="").labels is None
    like = read(path, text_column="left", label_column="kind").describe()
    other = write(tmp_path / "o.csv", [{"left": "z", "x": "y"}])
    assert texts_of(read(other, like=like, text_column="left", label_column="kind")) == {"text": ["z"]}


def test_lists_of_negatives_become_columns_and_lists_of_positives_rows(tmp_path: Path):
    rows = [
        {"query": "q1", "pos": ["p1", "p2"], "neg": ["n1", "p1"]},
        {"query": "q2", "pos": ["p3"], "neg": []},
        {"query": "q3", "pos": ["p4"], "neg": ["n2", "n3", "n4"]},
    ]
    source = read(write(tmp_path / "t.jsonl", rows))
    assert texts_of(source) == {
        "anchor": ["q1", "q1", "q2", "q3"],
        "positive": ["p1", "p2", "p3", "p4"],
        "negative": ["n1", "n1", "", "n2"],
        "negative_2": ["", "", "", "n3"],
        "negative_3": ["", "", "", "n4"],
    }
    assert source.ids.tolist() == [0, 0, 2, 3]
    assert (
        source.details["changed"]["a negative that is also the anchor or the positive of its row, left out"]["rows"]
        == 1
    )
    assert list(read(tmp_path / "t.jsonl", most_negatives=1).columns) == ["anchor", "positive", "negative"]
    lists = tmp_path / "lists.jsonl"
    lists.write_text('["a", "b"]\n["c", "d", "e"]\n')
    assert texts_of(read(lists)) == {"anchor": ["a", "c"], "positive": ["b", "d"], "negative": ["", "e"]}


def test_labels_are_classes_and_scores_are_numbers(tmp_path: Path):
    path = write(tmp_path / "t.csv", [{"text": "a", "label": "2.5"}, {"text": "b", "label": "3"}])
    source = read(path)
    assert source.labels is None and source.details["left_out"] == {"label": "numbers that are not whole"}
    rows = [{"s1": "a", "s2": "b", "score": score} for score in (0, "4.5", 5)]
    graded = read(write(tmp_path / "g.jsonl", rows))
    assert graded.targets.dtype == np.float32 and graded.targets.tolist() == [0, 4.5, 5]
    assert graded.describe()["targets"] == [0, 5]
    assert graded.select(np.array([2, 0])).targets.tolist() == [5, 0]


def test_a_text_file_is_read_by_lines_and_a_folder_by_files(tmp_path: Path):
    lines = tmp_path / "all.txt"
    lines.write_text("one\n\n  two \r\nthree", encoding="utf-8")
    source = read(lines)
    assert texts_of(source) == {"text": ["one", "two", "three"]} and source.describe()["skipped"] == 1
    assert source.skipped[0].name.endswith("all.txt:2") and source.names == ["one", "two", "three"]
    assert texts_of(read(lines, unit="file")) == {"text": ["one\n\n  two \nthree"]}
    assert texts_of(read(tmp_path)) == {"text": ["one", "two", "three"]}  # its only file
    for name in ("talk/b.txt", "sci/a.txt", "sci/deep/c.txt", "notes.md"):
        (tmp_path / "news" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "news" / name).write_text(f"text of {name}\nand more")
    folder = read(tmp_path / "news")
    assert texts_of(folder)["text"] == [
        f"text of {name}\nand more" for name in ("sci/a.txt", "sci/deep/c.txt", "talk/b.txt")
    ]
    assert folder.classes == ["sci", "talk"] and folder.labels.tolist() == [0, 0, 1]
    assert folder.names[0].endswith("sci/a.txt") and folder.details["ignored"] == {".md": 1}
    by_line = read(tmp_path / "news", unit="line")
    assert len(by_line) == 6 and by_line.labels.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("files", "unused"),
    [
        (("train.jsonl", "dev.jsonl"), None),
        (("train.csv", "test.jsonl", "validation.jsonl"), ["validation"]),
        (("train/x.jsonl", "val/x.jsonl"), None),
        (("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"), None),
    ],
)
def test_parts_are_told_by_names(files: tuple[str, ...], unused: list[str] | None, tmp_path: Path):
    write(tmp_path / files[0], [{"text": "a", "label": "y"}, {"text": "b", "label": "z"}])
    write(tmp_path / files[1], [{"text": "c", "label": "x"}, {"text": "d", "label": "z"}])
    for other in files[2:]:
        write(tmp_path / other, [{"text": "other"}])
    train, test = read_pair(tmp_path)
    assert texts_of(train) == {"text": ["a", "b"]} and texts_of(test) == {"text": ["c", "d"]}
    assert train.classes == test.classes == ["y", "z", "x"] and test.labels.tolist() == [2, 1]
    assert train.details.get("unused") == unused and test.details["part"] == "test"
    assert read_pair(tmp_path / files[0])[1] is None


def test_shards_are_one_table(tmp_path: Path):
    for number in range(3):
        write(tmp_path / f"train-{number:05d}-of-00003.jsonl", [{"text": f"t{number}"}, {"text": f"u{number}"}])
    assert texts_of(read(tmp_path))["text"] == ["t0", "u0", "t1", "u1", "t2", "u2"]


def test_folders_of_hugging_face_datasets_are_read_without_it(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["ham", "spam"]))
    data = datasets.Dataset.from_dict(
        {"text": [f"text {n}" for n in range(7)], "label": [0, 1, 1, -1, 0, 0, 1]}, features
    )
    parts = datasets.DatasetDict(train=data.select([6, 2, 3]), test=data.select([0, 1]))
    data.save_to_disk(tmp_path / "whole", num_shards=3)
    parts.save_to_disk(tmp_path / "parts")
    whole = read(tmp_path / "whole")
    assert texts_of(whole)["text"] == data["text"][:] and whole.classes == ["ham", "spam"]
    assert whole.labels.tolist() == data["label"][:]
    train, test = read_pair(tmp_path / "parts")
    assert texts_of(train)["text"] == parts["train"]["text"][:] and texts_of(test)["text"] == parts["test"]["text"][:]
    assert modalities.recognise(tmp_path / "parts").name == "text"


def test_equal_texts_are_one_item(tmp_path: Path):
    path = write(tmp_path / "t.jsonl", [{"text": text} for text in ("e\u0301t  e", "b", "\u00e9t\ne", "B")])
    assert read(path).ids.tolist() == [0, 1, 0, 3] and read(path).describe()["duplicates"] == 1
    assert read(path, duplicates="own-id").ids.tolist() == [0, 1, 2, 3]


def test_pairs_that_share_a_text_are_one_item():
    random = np.random.default_rng(0)
    rows = [(f"t{a}", f" t{b} ") for a, b in random.integers(0, 60, (40, 2))]
    ids = list(range(40))  # by going over all pairs of rows until nothing changes
    changed = True
    while changed:
        changed = False
        for i, first in enumerate(rows):
            for j, second in enumerate(rows):
                shared = {text.strip() for text in first} & {text.strip() for text in second}
                if shared and ids[i] != ids[j]:
                    ids[i] = ids[j] = min(ids[i], ids[j])
                    changed = True
    assert ids_of_pairs(*zip(*rows, strict=True)).tolist() == ids
    assert 1 < len(set(ids)) < 40
    assert ids_of_texts([a for a, _ in rows]).tolist() == [[a for a, _ in rows].index(a) for a, _ in rows]


def test_texts_in_memory_are_read_alike():
    source = read_texts({"anchor": ["a", "b"], "positive": ["c", "d"], "negative": ["", "e"]}, targets=[0.5, 1])
    assert source.describe()["task"] == "graded pairs with negatives" and source.targets.tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"text": "short", "label": 1}], "text"),
        ([{"comment": "some words here", "x": 1}], "text"),
        ([{"title": "some words", "x": 1}, {"title": "more words", "x": 2}], "tables"),
        ([{"source": "web", "target": "shop", "price": 3}], "tables"),
        ([{"text": 17, "x": 1}], "tables"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_of_texts_where_a_column_of_known_name_has_words(
    rows: list[dict[str, Any]], name: str, suffix: str, tmp_path: Path
):
    assert modalities.recognise(write(tmp_path / f"t{suffix}", rows)).name == name
