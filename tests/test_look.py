"""nearfar look: what some data are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar.errors import ConfigError
from nearfar.looking import look


def lines_of(text: str) -> dict[str, str]:
    """What stands behind each first word."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        found[line[:12].strip()] = "; ".join(filter(None, (found.get(line[:12].strip()), line[12:])))
    return found


def test_pairs_with_negatives(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("query,answer,id,negative\na b,c,1,f\nd e,c,2,\n,,3,\n")
    found = look(path)
    said = lines_of(str(found))
    assert said["Data"] == f"{path}: pairs with negatives" and said["Not used"] == "id"
    assert (
        said["Rows"] == "2 (1 left out, 1 the same item as another, at most 2 rows one item)"
        and said["Left out"] == f"{path}:4: an empty row"
    )
    assert said["Columns"] == "anchor = query, positive = answer, negative = negative"
    assert "negative: 1 texts of 1 to 1 characters, median 1, 95 % up to 1" in said["Lengths"]
    assert "pairs" in found.fits and "simclr" in found.refused and found.refused["supcon"].startswith("needs labels")
    texts = look(path, text_column="query", label_column="id")
    assert (
        texts.train is not None
        and texts.train["task"] == "texts with labels"
        and {"simclr", "supcon"} <= set(texts.fits)
    )
    with pytest.raises(ConfigError, match="unknown setting 'text_colum'; did you mean 'text_column'"):
        look(path, text_colum="query")


def test_collections(tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "b"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "c"}\n')
    (tmp_path / "qrels.test.tsv").write_text("q1\td1\t2\nq1\td9\t1\n")
    found = look(tmp_path)
    assert found.train is None and not found.fits and list(found.judged) == ["test"]
    said = lines_of(str(found))
    expected = "1 queries, 2 documents, 1 judgments: 1 of grade 2; 1 unknown documents (d9)"
    assert said["Data"] == f"{tmp_path}: collection" and said["Test"] == expected
    (tmp_path / "qrels.train.tsv").write_text("q1\td2\t1\n")
    found = look(tmp_path)
    assert found.train is not None and found.train["task"] == "pairs" and "pairs" in found.fits


def test_the_command_says_it_and_writes_it(command: Callable[..., Any], tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("age,label\n31,x\n25,y\n40,x\n")
    said = command("look", path, "--json", tmp_path / "look.json")
    assert f"{path}: tables with labels" in said.out and "2 classes: x, y" in said.out
    assert json.loads((tmp_path / "look.json").read_text())["train"]["items"] == 3


@pytest.mark.parametrize(
    ("rows", "method", "objective"),
    [
        ("anchor,positive", "pairs", "InfoNCE"),
        ("anchor,positive,negative", "pairs", "InfoNCE"),
        ("sentence1,sentence2,score", "pairs", "CoSENT"),
        ("text", "simcse", "InfoNCE"),
        ("text,label", "supcon", "SupCon"),
        ("age,weight", "simclr", "NTXent"),
        ("age,weight,label", "supcon", "SupCon"),
    ],
)
def test_what_to_begin_with_learns_from_the_data(rows: str, method: str, objective: str, tmp_path: Path):
    cells = {"label": "xyz"[:2], "score": ("0.25", "1"), "age": ("31", "25"), "weight": ("3.5", "2")}
    lines = [
        ",".join(cells.get(name, ("a {} b", "{} c d"))[n % 2].format(f"{name}{n}") for name in rows.split(","))
        for n in range(8)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([rows, *lines]))
    found = look(path)
    assert found.start is not None and (found.start[0], found.start[1][0]) == (method, objective)
    said = lines_of(str(found))
    words = said["Begin with"].removeprefix(f"nearfar fit {path} ").split()
    settings = dict(words[place + 1].split("=") for place, word in enumerate(words) if word == "--set")
    assert settings == ({"objective": "CoSENT"} if objective == "CoSENT" else {})
    small = {} if rows.startswith("age") else {"encoder": "ngrams-16"}
    run = nf.fit(path, tmp_path / "run", method=method, steps=1, batch_size=8, progress=False, **small, **settings)
    assert objective in str(run.method.objective)
    for name in found.start[1]:  # all of them are objectives of this method
        if method != "simcse":
            nf.methods.find(method).Options(objective=name)
