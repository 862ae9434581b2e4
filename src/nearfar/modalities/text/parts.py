"""Which files are the training part of some data and which the test part."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nearfar.data.split import TEST_NAMES, TRAIN_NAMES, find_parts
from nearfar.errors import DataError

from ..archives import printable
from .columnar import STATE, saved_folder
from .files import kind_of, plain

Part = Literal["train", "test"]
SHARD = re.compile(r"[-_.]\d+-of-\d+$")
CORPUS, QUERIES = ("corpus", "documents", "collection"), ("queries", "query", "topics")


@dataclass(frozen=True)
class Place:
    """Where a part of the data lies.

    Attributes:
        how: "table" (files, one after another), "folder" (of text files, one text each), or "collection".
        path: the file or folder.
        files: of a table.
        unused: what lies beside it and belongs to no part.
    """

    how: Literal["table", "folder", "collection"]
    path: Path
    files: list[Path] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def locate(path: Path, part: Part) -> Place | None:
    """Where a part of some data lies, None where the data have no test part.

    - a file is the training part;
    - a folder with `corpus` and `queries` files is a collection, its parts are in `qrels/`;
    - a folder with `train/` and `test/`, or with files of such names (`dev`, `val`, `validation` for test), has both
      parts; so has one that Hugging Face `datasets` saved; shards such as `train-00000-of-00002` make one part;
    - a folder with one table is the training part;
    - a folder of .txt files is the training part, each file a text.

    Raises:
        DataError: a folder in which several tables could be meant, or nothing that is read.
    """
    if not path.exists():
        raise DataError(f"{printable(path)}: no such file or folder")
    if not path.is_dir():
        return Place("table", path, [path]) if part == "train" else None
    if find_file(path, CORPUS) is not None and find_queries(path) is not None:
        return Place("collection", path)
    if (saved := saved_folder(path)) is not None:
        return Place("table", path, saved) if part == "train" else None
    folders = find_parts(path)
    if folders is not None:
        inner = locate(folders.train if part == "train" else folders.test, "train")
        return inner and Place(inner.how, inner.path, inner.files, folders.unused)
    groups = _groups(path)
    named = _named(groups, TRAIN_NAMES)
    if named is not None:
        chosen = named if part == "train" else _named(groups, TEST_NAMES)
        if chosen is None:
            return None
        test = _named(groups, TEST_NAMES)
        return Place("table", path, groups[chosen], sorted(groups.keys() - {named, test}))
    tables = {stem: files for stem, files in groups.items() if kind_of(files[0]) != "text"}
    texts = [file for file in path.rglob("*") if kind_of(file) == "text" and not _hidden(file, path)]
    deeper = path / "data"
    if not groups and deeper.is_dir() and _groups(deeper):
        return locate(deeper, part)
    if part == "test":
        return None
    if len(tables) == 1 and not texts:
        return Place("table", path, next(iter(tables.values())))
    if texts and not tables:
        alone = len(texts) == 1 and texts[0].parent == path
        return Place("table", path, texts) if alone else Place("folder", path)
    raise DataError(_unclear(path, groups))


def find_file(folder: Path, stems: tuple[str, ...]) -> Path | None:
    """The first readable file of a folder that has one of these names."""
    return next((group[0] for stem in stems if (group := _groups(folder).get(stem))), None)


def find_queries(folder: Path, split: str | None = None) -> Path | None:
    """The queries of a split, or of any where none is named: from one file, or from that of the split."""
    groups = _groups(folder)
    for stem in QUERIES:
        for name, files in groups.items():
            whole, _, part = name.partition(".")
            if whole == stem and (not part or split in (None, part)):
                return files[0]
    return None


def _groups(folder: Path) -> dict[str, list[Path]]:
    """The readable files of a folder by their stem in small letters; shards of one table are one group."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and kind_of(file) is not None and not file.name.startswith("."):
            stem = plain(file).stem.lower()
            if file.name not in (STATE, "dataset_info.json", "dataset_dict.json"):
                groups.setdefault(SHARD.sub("", stem), []).append(file)
    return groups


def _named(groups: dict[str, list[Path]], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in groups), None)


def _hidden(file: Path, folder: Path) -> bool:
    return any(name.startswith(".") for name in file.relative_to(folder).parts)


def _unclear(folder: Path, groups: dict[str, list[Path]]) -> str:
    if groups:
        listed = ", ".join(file.name for files in groups.values() for file in files[:1])
        return f"{printable(folder)}: holds {listed}; name one of them, or call one train (train.jsonl, say)"
    return (
        f"{printable(folder)}: nothing that is read as text: no table (.csv, .tsv, .jsonl, .json, .parquet, .arrow) "
        "and no .txt files"
    )
