"""Tables with faults: every message says where, what, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_samples import people, write_csv

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.tables.modality import TableOptions
from nearfar.modalities.tables.reading import read, read_columns, read_pair

Make = Callable[..., Path]
TWENTY = [str(n * n) for n in range(20)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"t\.csv: the table is empty; it needs a header and rows"),
        ("a,b\n", r"t\.csv: the table has no rows"),
        ("a,b\n1,2\n1\n", r"t\.csv\[1\]: 1 cells, but the header names 2 columns"),
        ("a,b\n1,2\n1,2,3\n", r"t\.csv\[1\]: 3 cells"),
        ("a,a\n1,2\n", r"first row does not look like a header: two columns are called 'a'"),
        ("1.5,2.5\n1,2\n", r"first row does not look like a header: numbers stand in it"),
        ("a,b\n1,x\n1,x\n", r"no column is left to learn from \(a: the same everywhere: 1; b: .*'x'\)"),
        ("label\nx\ny\n", r"no column is left to learn from \(only labels\)"),
        (b"a,b\n1,caf\xe9\n", r"t\.csv: not UTF-8 text \(.* at byte 9\); save it as UTF-8"),
        ('a,b\n"' + "x" * 200_000 + '",1\n', r"t\.csv: not a readable table: field larger than"),
    ],
)
def test_files_that_are_no_tables(content: str | bytes, message: str, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("abc", r"t\.csv\[3\]: column 'x' holds numbers, and 'abc' is none\. Mend the cell, say that it stands for"),
        ("?", r"t\.csv\[3\]: column 'x' holds numbers, and '\?' is none"),
        ("1_0", r"t\.csv\[3\]: column 'x' holds numbers, and '1_0' is none"),
        ("inf", r"t\.csv\[3\]: column 'x' is infinite; write a number, or leave the cell blank"),
        ("-1e999", r"t\.csv\[3\]: column 'x' is infinite"),
    ],
)
def test_a_faulty_number_is_named_by_row_and_column(cell: str, message: str, tmp_path: Path):
    cells = [*TWENTY[:3], cell, *TWENTY[4:]]
    with pytest.raises(DataError, match=message):
        read(write_csv(tmp_path / "t.csv", {"x": cells, "y": ["a", "b"] * 10}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "kind"}, r"no column 'kind' \(label_column\)\. Columns there are: number, height"),
        ({"drop": ["heigth"]}, r"no column 'heigth' \(drop\)\. Columns there are: number, height"),
        ({"categories": ["x"]}, r"no column 'x' \(categories\)"),
        ({"numbers": ["job"]}, r"people\.csv\[0\]: column 'job' holds numbers, and '\w+' is none"),
        ({"label_column": "height"}, r"column 'height': labels are classes, and these are numbers that are not whole"),
        ({"part": "test"}, r"there is no test part: no train\.csv and test\.csv"),
    ],
)
def test_settings_that_do_not_fit_the_table(settings: dict[str, Any], message: str, table: Make):
    with pytest.raises(DataError, match=message):
        read(table(), **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"height": None},
            r"new\.csv: no column 'height', which the encoder was trained with\. Columns there",
        ),
        ({"height": ["tall"] * 96}, r"new\.csv\[0\]: column 'height' holds numbers, and 'tall' is none"),
        ({"job": [str(k) for k in range(96)]}, r"column 'job' holds numbers such as 0, .* categories such as 'baker'"),
    ],
)
def test_new_data_of_another_kind(change: dict[str, Any], message: str, table: Make):
    like = read(table()).describe()
    columns = {name: cells for name, cells in {**people(), **change}.items() if cells is not None}
    with pytest.raises(DataError, match=message):
        read(table("new.csv", **columns), like=like)


def test_paths_that_lead_nowhere(tmp_path: Path):
    with pytest.raises(DataError, match=r"no\.csv: no such file or folder"):
        read(tmp_path / "no.csv")
    with pytest.raises(DataError, match=r"holds no tables; name one of them, or call one train\.csv"):
        read(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    with pytest.raises(DataError, match=r"holds a\.csv, b\.csv; name one"):
        read_pair(tmp_path)
    (tmp_path / "t.txt").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"t\.txt: cannot read a table from this\. Give a file \(\.csv"):
        read(tmp_path / "t.txt")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"t\.parquet: not a readable Parquet file"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rows": np.zeros((3, 2, 2))}, r"\[rows\]: shape \(3, 2, 2\) is not \(rows, columns\); reshape it"),
        ({"rows": np.eye(3), "labels": np.zeros(2)}, r"\[labels\]: shape \(2,\), but there are 3 rows; one label each"),
        ({"rows": np.eye(3), "columns": ["a", "b"]}, r"\[columns\]: 2 names for 3 columns"),
        ({"rows": np.full((3, 2), np.inf)}, r"t\.npz\[0\]: column '0' is infinite"),
        ({"rows": np.eye(3) * 1j}, r"type complex128; a column holds numbers, truth values or texts"),
        ({"rows": np.array([[None, 1]])}, r"\[rows\]: an array of Python objects, which is never loaded"),
        ({"a": np.arange(3), "b": np.arange(2)}, r"no array of rows to train on: none of rows, x, .* there are: a, b"),
        (
            {"rows": np.eye(3), "labels": np.array([0, 1, 5]), "classes": ["p", "q"]},
            r"row 2 has label 5, but",
        ),
    ],
)
def test_archives_with_faults(arrays: dict[str, Any], message: str, tmp_path: Path):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.npz")


def test_archives_that_are_none(tmp_path: Path):
    (tmp_path / "t.npz").write_bytes(b"PK but no more")
    with pytest.raises(DataError, match=r"t\.npz: not a NumPy archive, or a damaged one"):
        read(tmp_path / "t.npz")
    np.save(tmp_path / "a.npy", np.eye(2))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: a single array, not an archive"):
        read(tmp_path / "a.npz")


def test_columns_in_memory_of_different_lengths():
    with pytest.raises(DataError, match="columns must have one length, not a: 2, b: 3"):
        read_columns({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(DataError, match=r"columns\[a\]: shape \(1, 2\); a column is a vector"):
        read_columns({"a": [[1, 2]]})


def test_settings_take_one_name_or_several_and_refuse_the_impossible():
    assert TableOptions(drop="a").drop == ["a"] and TableOptions(drop=[1, "b"]).drop == ["1", "b"]
    with pytest.raises(ConfigError, match="max_categories"):
        TableOptions(max_categories=0)
    with pytest.raises(ConfigError, match="unknown setting 'dorp'; did you mean 'drop'"):
        TableOptions(dorp=["a"])
