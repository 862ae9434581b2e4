"""Texts with faults: every message says where, what, and what to do; what is left out is counted and named."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text.modality import TextOptions
from nearfar.modalities.text.reading import read, read_pair, read_texts
from saying import Command


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "", r"t\.txt: the file is empty"),
        ("t.csv", "", r"t\.csv: the file is empty"),
        ("t.jsonl", "", r"t\.jsonl: the file is empty"),
        ("t.json", "", r"t\.json: the file is empty"),
        ("t.txt", "\n \n\t\n", r"t\.txt: no texts in it \(3 rows are left out, the first: .*t\.txt:1: an empty row\)"),
        ("t.csv", "text,label\n", r"t\.csv: no texts in it$"),
        ("t.json", "[]", r"t\.json: no rows of named values; no object has a value"),
        ("t.jsonl", '{"text": "a"', r"no rows of named values; .*t\.jsonl:1: not JSON: .* at character 13"),
        ("t.json", '[{"text": "a"},\n{"text": ]', r"t\.json:2: not JSON: Expecting value; mend it"),
        ("t.json", '{\n"text": ["a"]\n}', r"t\.json: one JSON object; write a list of objects"),
        ("t.csv", "a,a\n1,2\n", r"t\.csv: two columns are called 'a'; the first row must name every column once"),
        ("t.txt", b"gut\nh\xe4h\n", r"t\.txt:2: not UTF-8: byte 0xe4 after 'h'\. .*\(encoding=latin-1"),
        ("t.csv", "text,x\na,1\n\xe4,1".encode("latin-1"), r"t\.csv:3: not UTF-8: byte 0xe4 after ''"),
        ("t.txt", "far away".encode("utf-16-le"), r"t\.txt: not a text file, or UTF-16 without a .* mark; .*16-le"),
        ("t.txt", codecs.BOM_UTF16_LE + b"abc", r"t\.txt: not the encoding that it begins with"),
        ("t.txt.gz", "plain", r"t\.txt\.gz: damaged, or not compressed as its name says"),
        ("t.txt.xz", "plain", r"t\.txt\.xz: damaged, or not compressed as its name says"),
        ("t.txt.zst", "plain", r"t\.txt\.zst: cannot be read"),
        ("t.parquet", "nothing", r"t\.parquet: not a readable Parquet file"),
        ("t.arrow", "nothing of the kind", r"t\.arrow: not a readable Arrow file"),
        ("t.docx", "a", r"t\.docx: cannot read texts from this\. Files that are read end in \.txt \.csv"),
        ("t.csv", "price,size\n1,2\n", r"no column of texts is recognised\. Columns there are: price, size\. Name"),
    ],
)  # fmt: skip
def test_files_that_hold_no_texts(name: str, content: str | bytes, message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        read(put(tmp_path / name, content))


def test_places_where_nothing_is(tmp_path: Path):
    for path, message in (
        (tmp_path / "no.csv", "no such file or folder"),
        (tmp_path, "nothing that is read as text: no table .* and no .txt files"),
    ):
        with pytest.raises(DataError, match=message):
            read(path)
    put(tmp_path / "a.jsonl", '{"text": "a"}')
    put(tmp_path / "b.csv", "text\nb\n")
    with pytest.raises(DataError, match=r"holds a\.jsonl, b\.csv; name one of them, or call one train"):
        read(tmp_path)
    with pytest.raises(DataError, match="there is no test part"):
        read(tmp_path / "b.csv", part="test")
    put(tmp_path / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    with pytest.raises(DataError, match=r"00001\.arrow: no such file, though state\.json names it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text_column": "txet"},
            r"no column 'txet' \(text_column\); did you mean 'text'\? Columns there are: text, q, kind",
        ),
        ({"label_column": "zzz"}, r"no column 'zzz' \(label_column\)\. Columns there are"),
        ({"negative_columns": ["worse"]}, r"no column 'worse' \(negative_columns\)"),
        ({"anchor_column": "q", "positive_column": "q"}, r"no column of texts is recognised"),
        ({"label_column": "half"}, r"column 'half': labels are classes, and these are numbers that are not whole"),
        ({"score_column": "half"}, r"score_column 'half': scores belong to pairs"),
    ],
)
def test_settings_that_do_not_fit_the_table(settings: dict[str, Any], message: str, tmp_path: Path):
    path = put(tmp_path / "t.csv", "text,q,kind,half\na,b,c,0.5\n")
    with pytest.raises(DataError, match=message):
        read(path, **settings)


def test_impossible_settings(tmp_path: Path):
    path = put(tmp_path / "t.txt", "a\n")
    for settings, message in (
        ({"encoding": "quark"}, "encoding = 'quark': no such encoding"),
        ({"encoding": "utf-8/drop"}, "no such encoding"),
        ({"encoding": "base64"}, "no such encoding"),
        ({"policy": "lose"}, "policy must be one of skip, refuse, not 'lose'"),
        ({"most_characters": 0}, "most_characters must be 1 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(path, **settings)
    with pytest.raises(ConfigError, match="did you mean 'text_column'"):
        TextOptions(text_colum="a")


@pytest.mark.parametrize(
    ("name", "content", "place", "reason"),
    [
        ("t.txt", "one\n\ntwo\n", ":2", "an empty row"),
        ("t.csv", "text,label\none,1\n,0\ntwo,1\n", ":3", "an empty row"),
        ("t.csv", "text,label\none,1\n\ntwo,1\n", ":3", "an empty row"),
        (
            "t.csv",
            "text,label\none,1\nand, so on,0\ntwo,1\n",
            ":3",
            r"3 cells, but .* 2 columns \(a cell with a comma .*",
        ),
        ("t.csv", 'text,label\n"o\nne",1\nand\ntwo,1\n', ":4", "1 cells, but the header names 2 columns .*"),
        ("t.tsv", "text\tlabel\none\t1\nand\ntwo\t1\n", ":3", r"1 cells, but .* \(a cell with a tab .*"),
        ("t.jsonl", '{"text": "one"}\n{"text": "half\n{"text": "two"}\n', ":2", "not JSON: .* at character 15"),
        ("t.jsonl", '{"text": "one"}\n17\n{"text": "two"}\n', ":2", "a JSON int, not an object of named values"),
        ("t.jsonl", '{"text": "one"}\n{"body": "x"}\n{"text": "two"}\n', ":2", "an empty row"),
        ("t.jsonl", '{"text": "one"}\n{"text": {"a": 1}}\n{"text": "two"}\n', ":2", "a dict where a text should be"),
        (
            "t.json",
            '[{"text": "one"}, null, {"text": "two"}]',
            r"[1]",
            "a JSON NoneType, not an object of named values",
        ),
        ("t.csv", "query,answer\na,b\nq,\nc,d\n", ":3", r"no positive \(answer\)"),
        ("t.csv", "query,answer\na,b\n,p\nc,d\n", ":3", r"no anchor \(query\)"),
        ("t.csv", "s1,s2,score\na,b,1\nc,d,\ne,f,0\n", ":3", "no score"),
        ("t.csv", "s1,s2,score\na,b,1\nc,d,high\ne,f,0\n", ":3", "'high' is no finite number, and scores are"),
        ("t.csv", "s1,s2,score\na,b,1\nc,d,inf\ne,f,0\n", ":3", "'inf' is no finite number, and scores are"),
    ],
)
def test_a_broken_row_is_left_out_and_named_or_refused(
    name: str, content: str, place: str, reason: str, tmp_path: Path
):
    path = put(tmp_path / name, content)
    options = {"score_column": "score"} if "score" in content else {}
    source = read(path, **options)
    assert len(source) == 2 and [item.name for item in source.skipped] == [f"{path}{place}"]
    assert re.fullmatch(reason, source.skipped[0].reason), source.skipped[0].reason
    assert source.describe()["skipped"] == 1
    with pytest.raises(DataError, match=r"Mend it, or leave such rows out \(policy=skip\)"):
        read(path, policy="refuse", **options)


def test_encodings(tmp_path: Path):
    texts = ["f\u00e4r", "n\u00e4h \U0001f994"]
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert read(put(tmp_path / "t.txt", "\r\n".join(texts).encode(encoding))).columns == {"text": texts}
        table = "text,label\n" + "".join(f"{text},1\n" for text in texts)
        assert read(put(tmp_path / "t.csv", table.encode(encoding))).columns == {"text": texts}
    latin = put(tmp_path / "t.txt", b"good\nh\xe4h\n")
    assert read(latin, encoding="latin-1").columns == {"text": ["good", "häh"]}
    replaced = read(latin, encoding="utf-8/replace")
    assert replaced.columns == {"text": ["good", "h\ufffdh"]}
    changed = {"bytes that cannot be decoded, read as \ufffd": {"rows": 1, "first": [f"{latin}:2"]}}
    assert replaced.describe()["changed"] == changed
    folder = tmp_path / "folder"
    (folder / "x").mkdir(parents=True)
    put(folder / "x" / "a.txt", b"h\xe4h"), put(folder / "x" / "b.txt", "good"), put(folder / "x" / "c.txt", "")
    source = read(folder)
    assert source.columns == {"text": ["good"]} and source.classes == ["x"]
    assert [item.reason[:12] for item in source.skipped] == ["1: not UTF-8", "an empty fil"]


def test_nul_and_half_surrogates(tmp_path: Path):
    source = read(put(tmp_path / "t.txt", "a long enough line\nnu\0l\n"))
    assert source.columns["text"] == ["a long enough line", "nul"]
    assert source.details["changed"]["NUL characters left out"]["first"] == [f"{tmp_path}/t.txt:2"]
    assert read(put(tmp_path / "t.csv", "text,x\nnu\0l and more,1\n")).columns["text"] == ["nul and more"]
    source = read(put(tmp_path / "t.jsonl", r'{"text": "a\u0000b"}' + "\n" + r'{"text": "\ud800x"}'))
    assert source.columns["text"] == ["ab", "\ufffdx"] and len(source.details["changed"]) == 2


def test_long_rows_are_kept_and_cut_where_asked(tmp_path: Path):
    long = "word " * 20_000 + "end"
    for path in (
        put(tmp_path / "t.txt", f"short\n{long}\n"),
        put(tmp_path / "t.csv", f"text,x\nshort,1\n{long},1\n" + f"{long * 2},2\n"),  # Python reads 131,072 unasked
        put(tmp_path / "t.jsonl", json.dumps({"text": "short"}) + "\n" + json.dumps({"text": long})),
    ):
        source = read(path, most_characters=300_000)
        assert source.columns["text"][1] == long and source.details["changed"] == {}
        cut = read(path, most_characters=999)
        assert cut.columns["text"][1] == long[:999] and cut.details["lengths"]["text"]["longest"] == 999
        assert cut.details["changed"]["cut to 999 characters"]["first"][0].endswith((":2", ":3"))


def test_one_row_and_one_class(tmp_path: Path):
    one = read(put(tmp_path / "t.csv", "text,label\nalone,x\n"))
    assert len(one) == 1 and one.classes == ["x"]
    with pytest.raises(DataError, match="at least 2 items"):
        nf.fit(tmp_path / "t.csv", tmp_path / "run", method="simclr", encoder="ngrams-16", steps=1)
    put(tmp_path / "t.csv", "text,label\nalone,x\nagain,x\n")
    with pytest.raises(DataError, match="two"):
        nf.fit(tmp_path / "t.csv", tmp_path / "run", method="supcon", encoder="ngrams-16", steps=1)


def test_texts_in_memory_with_faults():
    for texts, message in (
        ("one", "a single text; give a list"),
        ([], "there are none"),
        (["a", ""], r"text\[1\]: '' is no text, or an empty one"),
        (["a", 3], r"text\[1\]: 3 is no text"),
        ({"anchor": ["a"], "positive": ["b", "c"]}, "1 anchor texts, 2 positive texts"),
    ):
        with pytest.raises(DataError, match=message):
            read_texts(texts)


def test_tables_that_do_not_belong_together(tmp_path: Path):
    for number, name in enumerate(("text", "body")):
        put(tmp_path / f"train-{number}-of-2.jsonl", json.dumps({name: "a"}))
    with pytest.raises(DataError, match=r"has the columns text, but .* has body; parts of one table have the same"):
        read_pair(tmp_path)


def test_a_table_of_texts_in_another_encoding_is_told_by_its_columns(tmp_path: Path, command: Command):
    path = put(tmp_path / "t.csv", "anchor,positive\nein Käse,noch ein Käse\nzwei,drei vier\n".encode("latin-1"))
    said = command("look", path)
    assert said.code == 2 and "t.csv:2: not UTF-8: byte 0xe4 after 'ein K'" in said.err
    assert "encoding=latin-1" in said.err
    assert command("look", path, "--set", "encoding=latin-1").code == 0


def test_texts_under_unknown_names_are_asked_for(tmp_path: Path, command: Command):
    lines = [f"a text of number {n},and its {n} answer" for n in range(20)]
    path = put(tmp_path / "t.csv", "\n".join(["foo,bar", *lines]))
    said = command("look", path)
    assert (
        said.code == 2
        and "--set text_column='foo', or --set anchor_column='foo' --set positive_column='bar'" in said.err
    )
    assert "pairs" in command("look", path, "--set", "anchor_column=foo", "--set", "positive_column=bar").out
