"""Variants from a file, and writers that are asked once."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.text import edits
from nearfar.modalities.text.variants import Variants, rewrite

PAIRS = [("a cat", "one cat"), ("a cat", "the cat"), ("a  cat ", "the cat"), ("tea", "  "), ("milk", "milk")]


def seeds(count: int) -> torch.Tensor:
    return edits.seeds_of(1, count, torch.Generator().manual_seed(1))[0]


def test_what_is_no_variant_is_counted():
    variants = Variants(PAIRS)
    assert variants.counts == {"kept": 2, "empty": 1, "equal": 1, "doubled": 1, "broken": 0}
    assert variants.of(" a cat") == ["one cat", "the cat"] and variants.of("milk") == variants.of("beer") == []


def test_what_a_model_has_not_finished_is_counted():
    pairs = [
        ("a cat", "a [MASK]"),
        ("a cat", "a <mask>"),
        ("a cat", "Sure:\n\na dog"),
        ("a\ncat", "one\ncat"),
        ("b", "c\n"),
    ]
    variants = Variants(pairs)
    assert variants.counts == {"kept": 2, "empty": 0, "equal": 0, "doubled": 0, "broken": 3}
    assert variants.of("a\ncat") == ["one\ncat"] and variants.of("b") == ["c\n"]


def test_each_variant_is_as_likely_and_shares_are_as_set():
    variants, texts = Variants(PAIRS), ["a cat"] * 4000
    counts = Counter(variants.chosen(texts, seeds(4000), 1.0))
    assert set(counts) == {"one cat", "the cat"} and abs(counts["one cat"] - 2000) < 4 * 1000**0.5
    counts = Counter(variants.chosen(texts, seeds(4000), 0.25))
    assert abs(counts["a cat"] - 3000) < 4 * 750**0.5
    assert variants.chosen(["a cat", "beer"], seeds(2), 0.0) == ["a cat", "beer"]
    assert variants.chosen(["milk", "beer", ""], seeds(3), 1.0) == ["milk", "beer", ""]


def test_files_of_lines_and_of_columns_say_the_same(tmp_path: Path):
    lines, columns = tmp_path / "v.jsonl", tmp_path / "v.parquet"
    lines.write_text("\n".join(json.dumps({"text": a, "variant": b, "score": 1}) for a, b in PAIRS))
    texts, variants = zip(*PAIRS, strict=True)
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "variant": variants, "n": range(5)}), columns)
    for path in (lines, columns):
        found = Variants.read(path)
        assert found.counts == Variants(PAIRS).counts and found.path == path
        assert found.of("a cat") == ["one cat", "the cat"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.jsonl", '{"text": "a", "variant": "b"}\n{"text": "a"}\n', r"v\.jsonl, line 2: must be"),
        ("v.jsonl", 'nonsense\n{"text": "a", "variant": "b"}\n', r"v\.jsonl, line 1: must be"),
        ("v.jsonl", '["a", "b"]\n', "line 1: must be"),
        ("v.jsonl", "", "no text has a variant"),
        ("v.jsonl", '{"text": "a", "variant": "a"}\n', "no text has a variant .*'equal': 1"),
        ("v.parquet", "PAR1", r"v\.parquet: cannot read columns text and variant"),
        ("missing.jsonl", None, r"missing\.jsonl: cannot be read: No such file"),
        ("missing.parquet", None, r"missing\.parquet: cannot read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str | None, message: str):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        Variants.read(tmp_path / name)


def test_a_parquet_file_without_the_columns(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "other": ["b"]}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match="cannot read columns text and variant"):
        Variants.read(tmp_path / "v.parquet")


class Loud:
    """Writes in capitals, and remembers what it was asked."""

    def __init__(self, stop_after: int = 99) -> None:
        self.asked: list[list[str]] = []
        self.stop_after = stop_after

    def write(self, texts: list[str]) -> list[str]:
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(texts)
        return [text.upper() for text in texts]


def test_a_text_is_asked_for_once(tmp_path: Path):
    loud, file = Loud(), tmp_path / "cache.jsonl"
    texts = ["b", "a", "b", "ü\n", ""]
    assert rewrite(texts, loud.write, file, batch_size=2) == ["B", "A", "B", "Ü\n", ""]
    assert loud.asked == [["b", "a"], ["ü\n", ""]]
    before = file.read_bytes()
    assert rewrite(["ü\n", "a"], loud.write, file) == ["Ü\n", "A"]
    assert file.read_bytes() == before and len(loud.asked) == 2
    assert rewrite(["c", "a"], loud.write, file) == ["C", "A"]
    assert loud.asked[2:] == [["c"]] and file.read_bytes().startswith(before)


def test_an_interrupted_writer_goes_on_where_it_stopped(tmp_path: Path):
    texts, file, whole = [f"text {i}" for i in range(10)], tmp_path / "cut.jsonl", tmp_path / "whole.jsonl"
    rewrite(texts, Loud().write, whole, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        rewrite(texts, Loud(stop_after=2).write, file, batch_size=3)
    with open(file, "ab") as torn:
        torn.write('{"text": "text 6", "var\xe4'.encode()[:-1])
    assert len(Variants.read(file)._known) == 6  # the part of a line is no reason to refuse the others
    loud = Loud()
    assert rewrite(texts, loud.write, file, batch_size=3) == [text.upper() for text in texts]
    assert loud.asked == [texts[6:9], texts[9:]] and file.read_bytes() == whole.read_bytes()


def test_a_last_line_without_an_end_is_kept(tmp_path: Path):
    file = tmp_path / "v.jsonl"
    file.write_text('{"text": "a", "variant": "b"}')
    rewrite(["c"], Loud().write, file)
    assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["a", "c"]


def test_writers_share_a_file(tmp_path: Path):
    file = tmp_path / "v.jsonl"
    rewrite(["tea"], Loud().write, file)
    assert rewrite(["tea"], lambda texts: [text + "!" for text in texts], file, name="shout") == ["tea!"]
    assert Variants.read(file).of("tea") == ["TEA", "tea!"]


@pytest.mark.parametrize("writer", [lambda texts: texts, partial(sorted)])
def test_a_writer_without_a_name(tmp_path: Path, writer):
    with pytest.raises(ConfigError, match="give the writer a name"):
        rewrite(["a"], writer, tmp_path / "v.jsonl")


@pytest.mark.parametrize("wrong", [[], ["a", "b", "c"], ["a", None]])
def test_a_writer_that_returns_something_else(tmp_path: Path, wrong: list):
    with pytest.raises(DataError, match="odd was given 2 texts and must return as many"):
        rewrite(["a", "b"], lambda texts: wrong, tmp_path / "v.jsonl", name="odd")
    assert not (tmp_path / "v.jsonl").exists()
