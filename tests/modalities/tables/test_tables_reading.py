"""What is read from tables: kinds of columns, values, labels, parts, and new data by the schema of old."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from table_samples import people, write_csv

from nearfar.data.source import ArraySource
from nearfar.modalities import find
from nearfar.modalities.tables.reading import read, read_columns, read_pair
from nearfar.modalities.tables.schema import columns_of, expand

Make = Callable[..., Path]


def rows(source: ArraySource) -> np.ndarray:
    return source.rows(slice(0, len(source))).numpy()


def schema(source: ArraySource) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in source.describe()["columns"]}


def test_kinds_are_inferred_and_what_is_left_out_is_said(table: Make, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        source = read(table())
    assert {name: column["kind"] for name, column in schema(source).items()} == {
        "height": "number",
        "children": "number",
        "job": "category",
        "member": "category",
    }
    assert source.classes == ["a", "b", "c"] and source.details["label_column"] == "class"
    left = source.details["left_out"]
    assert list(left) == ["number", "key", "planet"] and left["number"] == "a running number"
    assert "96 different in 96 cells" in left["key"] and "'earth'" in left["planet"]
    for name in left:
        assert name in caplog.text


def test_numbers_are_standardised_by_median_and_quartiles(table: Make):
    columns = people()
    source = read(table())
    height = np.array(columns["height"], dtype=float)
    low, high = np.quantile(height, [0.25, 0.75])
    np.testing.assert_allclose(rows(source)[:, 0], (height - np.median(height)) / ((high - low) / 1.349), rtol=1e-5)
    children = [float(c) for c in columns["children"] if c]
    found = schema(source)["children"]
    assert found["median"] == np.median(children) and found["missing"] == columns["children"].count("")
    assert np.isnan(rows(source)[:, 1]).tolist() == [not c for c in columns["children"]]


def test_a_scale_without_spread_of_the_quartiles_is_the_standard_deviation():
    values = np.array([0.0] * 9 + [10.0])
    source = read_columns({"x": values, "y": ["a", "b"] * 5})
    assert schema(source)["x"]["scale"] == pytest.approx(values.std())


def test_categories_are_coded_with_codes_of_their_own_for_missing_and_new(table: Make):
    columns = people()
    source = read(table())
    assert schema(source)["job"]["categories"] == ["baker", "cook", "smith"]
    code = {"baker": 2, "cook": 3, "smith": 4}
    assert rows(source)[:, 2].tolist() == [code[job] for job in columns["job"]]
    assert rows(source)[:, 3].tolist() == [{"NA": 0, "no": 2, "yes": 3}[m] for m in columns["member"]]
    columns["job"][:2] = ["astronaut", ""]
    new = read(table("new.csv", **columns), like=source.describe())
    assert rows(new)[:2, 2].tolist() == [1, 0]


def test_the_baseline_has_numbers_flags_and_one_hot_categories(table: Make):
    source = read(table())
    raw = expand(rows(source), columns_of(source.details))
    # height, children and its flag, job: missing, other and three values, member: missing, other and two
    assert raw.shape == (96, 1 + 2 + 5 + 4) and np.isfinite(raw).all()
    np.testing.assert_array_equal(raw[:, 2], np.isnan(rows(source)[:, 1]))
    assert (raw[:, 3:8].sum(1) == 1).all() and (raw[:, 8:].sum(1) == 1).all()
    np.testing.assert_array_equal(find("tables").raw(source), raw)


def test_facts_survive_json_and_yaml(table: Make):
    facts = read(table()).describe()
    for again in (json.loads(json.dumps(facts)), yaml.safe_load(yaml.safe_dump(facts))):
        assert again == facts and columns_of(again) == columns_of(facts)
        assert rows(read(table(), like=again)).tobytes() == rows(read(table())).tobytes()


@pytest.mark.parametrize("form", ["tsv", "semicolons", "parquet", "archive", "vectors", "memory"])
def test_every_form_of_a_table_gives_the_same_rows(form: str, table: Make, tmp_path: Path):
    columns = people()
    want = read(table())
    numbers = {name: np.array([float(c or "nan") for c in columns[name]]) for name in ("height", "children")}
    texts = {name: np.array(columns[name]) for name in ("job", "member", "class")}
    if form == "tsv":
        got = read(write_csv(tmp_path / "t.tsv", columns, "\t"))
    elif form == "semicolons":
        comma = {**columns, "height": [h.replace(".", ",") for h in columns["height"]]}
        got = read(write_csv(tmp_path / "t.csv", comma, ";"))
    elif form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        made = {name: pa.array(cells, from_pandas=True) for name, cells in numbers.items()}
        made |= {"job": pa.array(columns["job"]).dictionary_encode()}
        made |= {"member": pa.array([None if m == "NA" else m for m in columns["member"]]), "class": columns["class"]}
        made |= {"when": pa.array([0] * 96, pa.timestamp("ms"))}
        pq.write_table(pa.table(made), tmp_path / "t.parquet")
        got = read(tmp_path / "t.parquet")
        assert got.details["left_out"] == {"when": "holds timestamp[ms], neither numbers nor text"}
    elif form == "archive":
        cells = np.stack([np.array(columns[n]) for n in ("height", "children", "job", "member")], 1)
        np.savez(tmp_path / "t.npz", rows=cells, labels=texts["class"], columns=["height", "children", "job", "member"])
        got = read(tmp_path / "t.npz")
    elif form == "vectors":
        np.savez(tmp_path / "t.npz", **numbers, **texts)
        got = read(tmp_path / "t.npz")
    else:
        got = read_columns({**numbers, **{k: v.tolist() for k, v in texts.items() if k != "class"}}, texts["class"])
    assert rows(got).tobytes() == rows(want).tobytes()
    assert got.labels is not None and want.labels is not None
    assert got.labels.tolist() == want.labels.tolist() and got.classes == want.classes
    assert got.describe()["columns"] == want.describe()["columns"]


def test_settings_win_over_what_is_inferred(table: Make):
    source = read(table(), drop=["height"], categories=["children", "key"], numbers=["number"], max_categories=5)
    found = schema(source)
    assert list(found) == ["number", "children", "job", "member", "key"]
    assert found["number"]["kind"] == "number" and found["children"]["categories"] == ["0", "1", "2", "3"]
    assert len(found["key"]["categories"]) == 5
    left = source.details["left_out"]
    assert left["height"] == "dropped as asked" and left["key"] == "all but the 5 most frequent of its 96 values"


def test_words_for_missing_may_be_added(tmp_path: Path):
    columns = {"x": ["1", "?", "3", "nan", "5", "null"], "y": ["a", "?", "b", "a", "", "b"]}
    source = read(write_csv(tmp_path / "t.csv", columns), missing=["?"])
    assert [c["missing"] for c in schema(source).values()] == [3, 2]
    assert schema(source)["y"]["categories"] == ["a", "b"]


def test_few_values_that_are_not_all_numbers_are_a_category(tmp_path: Path):
    columns = {"dependents": ["0", "1", "2", "0", "1", "0", "2", "1", "0", "3+"] * 4, "x": list(range(0, 80, 2))}
    assert schema(read(write_csv(tmp_path / "t.csv", columns)))["dependents"]["categories"] == ["0", "1", "2", "3+"]


def test_one_value_has_one_spelling(tmp_path: Path):
    columns = {"flag": ["True", "true", "FALSE", "false"], "code": ["3", "3.0", "4", "4.00"]}
    source = read(write_csv(tmp_path / "t.csv", columns), categories=["code"])
    assert rows(source).tolist() == [[3, 2], [3, 2], [2, 3], [2, 3]]
    assert source.ids.tolist() == [0, 0, 2, 2]


def test_equal_rows_are_one_item_unless_told_otherwise(table: Make):
    columns = {name: [*cells, cells[3]] for name, cells in people().items()}
    assert read(table(**columns)).ids[-1] == 3
    assert read(table(**columns), duplicates="own-id").ids.tolist() == list(range(97))


def test_names_lead_back_to_the_row(table: Make):
    path = table()
    assert read(path).names[5] == f"{path}[5]"


# Labels


@pytest.mark.parametrize(
    ("cells", "setting", "classes"),
    [
        (["1", "2", "1", "2"], None, ["1", "2"]),
        (["1.0", "2.0", "", "2.0"], None, ["1", "2"]),
        (["x", "y", "x", "y"], "", []),
        (["0.1", "0.2", "0.7", "0.2"], None, []),
    ],
    ids=["whole", "floats with a blank", "unwanted", "a target"],
)
def test_labels_are_classes(cells: list[str], setting: str | None, classes: list[str], tmp_path: Path):
    path = write_csv(tmp_path / "t.csv", {"a": [1, 5, 2, 9], "target": cells})
    source = read(path, label_column=setting)
    assert source.classes == classes and (source.labels is None) == (not classes)
    assert ("target" in schema(source)) == (setting == "")
    if cells[0] == "0.1":
        assert source.details["left_out"]["target"].startswith("named like labels")


# Parts


def test_a_folder_has_parts(tmp_path: Path):
    columns, other = people(seed=0), people(rows=20, seed=1)
    write_csv(tmp_path / "train.csv", columns)
    write_csv(tmp_path / "test.csv", {**dict(reversed(other.items())), "class": ["c", "d"] * 10})
    train, test = read_pair(tmp_path)
    assert test is not None and (len(train), len(test)) == (96, 20)
    assert train.classes == test.classes == ["a", "b", "c", "d"] and test.labels.tolist() == [2, 3] * 10
    assert train.describe()["columns"] == test.describe()["columns"]
    assert rows(test)[:, 2].tolist() == [{"baker": 2, "cook": 3, "smith": 4}[job] for job in other["job"]]


def test_a_folder_with_one_table_is_that_table(table: Make):
    path = table()
    train, test = read_pair(path.parent)
    assert test is None and rows(train).tobytes() == rows(read(path)).tobytes()


def test_an_archive_has_parts(tmp_path: Path):
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(30, 4)), rng.normal(size=(10, 4))
    np.savez(tmp_path / "t.npz", x_train=x, y_train=np.arange(30) % 3, x_test=z, y_test=np.arange(10) % 2)
    train, test = read_pair(tmp_path / "t.npz")
    assert test is not None and train.classes == test.classes == ["0", "1", "2"]
    assert train.names[2].endswith("t.npz:x_train[2]") and test.names[2].endswith("t.npz:x_test[2]")
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(rows(test), (z - median) / ((high - low) / 1.349), rtol=1e-5)


# New data


def test_new_data_may_have_more_columns_in_any_order_and_no_labels(table: Make, tmp_path: Path):
    first = read(table(), label_column="class")
    columns = {name: cells for name, cells in reversed(people().items()) if name != "class"}
    new = read(table("new.csv", extra=[1] * 96, **columns), like=first.describe(), label_column="class")
    assert rows(new).tobytes() == rows(first).tobytes() and new.labels is None
    assert new.details["unused"] == ["extra", "planet", "key", "number"]


def test_a_single_new_row_is_enough(table: Make):
    first = read(table())
    one = {name: cells[:1] for name, cells in people().items()}
    assert rows(read(table("one.csv", **one), like=first.describe())).tobytes() == rows(first)[:1].tobytes()
