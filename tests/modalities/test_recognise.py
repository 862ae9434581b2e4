"""Which modality takes which data, told from their head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar import fit, modalities
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.peek import array_shapes, holds_file, table_head


def recognised(path: Path, **settings: Any) -> str:
    return modalities.recognise(path, settings).name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("a,b\n1,2\n", "tables"),
        ("a;b\n1;2\n", "tables"),
        ("path,label\nx/a.png,1\n", "images"),
        ("label,Image \n1,x/a\n", "images"),
        ("picture,label\n,1\nx/A.JPG,1\n", "images"),
        ("image,label\n17,1\n", "tables"),
        ("file,tempo\nblues.wav,1.5\n", "tables"),
        ("path,label\n\n", "tables"),
        ("", "tables"),
        ('"', "tables"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".CSV"])
def test_a_table_is_of_images_where_it_names_some(content: str, name: str, suffix: str, tmp_path: Path):
    path = tmp_path / f"t{suffix}"
    path.write_text(content)
    assert recognised(path) == name


@pytest.mark.parametrize(("column", "name"), [("photo", "images"), ("other", "tables")])
def test_parquet_is_told_likewise(column: str, name: str, tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [None, "a.png"] if column == "photo" else [None, "a"]
    pq.write_table(pa.table({column: cells, "x": [1.5, 2.5]}), tmp_path / "t.parquet")
    assert recognised(tmp_path / "t.parquet") == name
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "e.parquet")
    assert table_head(tmp_path / "e.parquet") == {"x": []}


@pytest.mark.parametrize(
    ("arrays", "name"),
    [
        ({"images": np.zeros((2, 4, 4))}, "images"),
        ({"images": np.zeros((2, 16))}, "images"),
        ({"x_train": np.zeros((2, 4, 4, 3)), "y_train": np.zeros(2)}, "images"),
        ({"x_train": np.zeros((2, 4)), "x_test": np.zeros((2, 4))}, "tables"),
        ({"rows": np.zeros((2, 4)), "labels": np.zeros(2)}, "tables"),
        ({"age": np.zeros(4), "job": np.array(["a"] * 4)}, "tables"),
        ({"weights": np.zeros((2, 3, 4, 5))}, "images"),
        ({}, "images"),
    ],
)
def test_an_archive_is_told_by_its_shapes(arrays: dict[str, np.ndarray], name: str, tmp_path: Path):
    np.savez(tmp_path / "t.npz", **arrays)
    assert array_shapes(tmp_path / "t.npz") == {key: value.shape for key, value in arrays.items()}
    assert recognised(tmp_path / "t.npz") == name


def test_damaged_files_go_to_a_modality_that_says_so(tmp_path: Path):
    for name, message in (("t.npz", "not a NumPy archive"), ("t.parquet", "not a readable Parquet file")):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=message):
            fit(tmp_path / name, tmp_path / "run", steps=1)
    with pytest.raises(DataError, match="no such file or folder"):
        fit(tmp_path / "no.csv", tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists()


def test_a_folder_is_of_images_where_it_holds_one(tmp_path: Path):
    assert recognised(tmp_path) == "images"  # which says that it is empty
    (tmp_path / "train.csv").write_text("a\n1\n")
    assert recognised(tmp_path) == "tables"
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / ".hidden.png").touch()
    assert not holds_file(tmp_path, (".png",))
    (tmp_path / "deep" / "deeper" / "a.PNG").touch()
    assert recognised(tmp_path) == "images"


def test_a_setting_that_one_modality_knows_decides(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("where,label\nx/a,1\n")
    assert recognised(path) == "tables" and recognised(path, label_column="label", lr=1) == "tables"
    assert recognised(path, path_column="where") == "images" and recognised(path, size=8, label_column="x") == "images"
    path.write_text("path,label\nx/a.png,1\n")
    assert recognised(path, drop=["path"]) == "tables"
    with pytest.raises(DataError, match="no column 'nowhere'"):
        fit(path, tmp_path / "run", path_column="nowhere")


def test_names_are_found_or_listed():
    assert [modalities.find(name).name for name in modalities.NAMES] == list(modalities.NAMES)
    with pytest.raises(ConfigError, match="there is no modality 'sounds'; there are images, text, tables"):
        modalities.find("sounds")


def test_a_setting_of_another_modality_is_refused_by_its_name(small: Path, tmp_path: Path):
    for data, how in ((small, {}), (small, {"modality": "images"})):
        with pytest.raises(ConfigError, match="'lora': it is one of text, and these data are images; leave it out"):
            fit(data, tmp_path / "run", steps=1, lora=2, **how)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ConfigError, match="'lora': it is one of text, and these data are tables"):
        fit(tmp_path / "t.csv", tmp_path / "run", steps=1, lora=2, modality="tables")
    assert not (tmp_path / "run").exists()
