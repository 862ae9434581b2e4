"""Reads texts from files and folders, or from lists in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from nearfar.data.labels import encode_labels
from nearfar.data.source import number_alike
from nearfar.errors import ConfigError, DataError

from ..archives import printable
from ..folders import list_folder
from .collection import pairs_of, read_collection
from .columnar import COLUMNAR, open_columnar
from .columns import Wishes, roles_of, task_of
from .files import ANCHOR, NEGATIVE, POSITIVE, TEXT, Row, Table, joined, kind_of, open_table, text_rows
from .findings import Findings, Policy
from .items import ids_of_pairs, ids_of_texts
from .judgments import find_split, splits_of
from .lines import check_encoding, lines
from .parts import Part, Place, locate
from .rows import MOST_CHARACTERS, Column, Gathered, clean, gather, settled
from .source import TextSource

Duplicates = Literal["same-id", "own-id"]
Unit = Literal["auto", "line", "file"]
FOLDER_OF_TEXTS = (".txt",)
LABEL, DOMAIN = "label", "domain"


def read(
    path: str | Path,
    *,
    part: Part = "train",
    like: Mapping[str, Any] | None = None,
    policy: Policy = "skip",
    duplicates: Duplicates = "same-id",
    encoding: str | None = None,
    unit: Unit = "auto",
    folders: str = "label",
    most_characters: int = MOST_CHARACTERS,
    most_negatives: int | None = None,
    **columns: Any,
) -> TextSource:
    """Read texts, alone or in pairs with or without negatives.

    `path` is one of:

    - a .txt file, a text in each line; a folder of .txt files, each a text, the first-level folder its label;
    - a table with a column for each text of an item (see `columns.roles_of`): .csv, .tsv, .jsonl (objects, or lists of
      two texts and more), .json (a list of such), .parquet, .arrow, and a folder that Hugging Face `datasets` saved;
    - a folder with `train` and perhaps `test` (`val`, `validation`, `dev`) files or folders of these kinds;
    - a collection with relevance (see `collection.read_collection`), of which each relevant document of each query of
      the part makes a pair.

    Text files may be compressed (.gz, .bz2, .xz, .zst). A byte order mark is obeyed.

    Args:
        part: which part to read of data that come in parts.
        like: `describe()` of the rows that an encoder was trained on; columns of labels, scores and negatives that were
            named need not be there then.
        policy: "skip" leaves out rows without text, broken rows and unknown ids, lists them in `skipped` and logs
            their number; "refuse" raises on the first.
        duplicates: "same-id" gives rows with equal texts one id (see `items`), so that they are never far apart;
            "own-id" numbers the rows.
        encoding: of text files without a byte order mark, UTF-8 when None; "utf-8/replace" reads faulty bytes as �.
        unit: whether a line or a file is one text; "auto" takes the files of a folder whole, and a file by lines.
        most_characters: longer texts are cut, which is noted.
        most_negatives: of each row; all when None.
        folders: what the levels of folders say, such as "domain/label" (see `nearfar.modalities.folders.levels_of`).
        columns: `text_column`, `anchor_column`, `positive_column`, `negative_columns`, `score_column`, `label_column`,
            `domain_column`.

    Raises:
        DataError: nothing there, nothing readable, a missing column; says where and what to do.
        ConfigError: an impossible setting.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "t.csv").write_text("question,answer\\nWho?,Ada\\nWhen?,1843\\n")
        ...     source = read(Path(folder, "t.csv"))
        >>> source.details["task"], list(source.columns["positive"])
        ('pairs', ['Ada', '1843'])
    """
    _check(policy=(policy, Policy), duplicates=(duplicates, Duplicates), unit=(unit, Unit), part=(part, Part))
    check_encoding(encoding)
    if most_characters < 1 or (most_negatives is not None and most_negatives < 0):
        raise ConfigError("most_characters must be 1 or more, and most_negatives 0 or more")
    path = Path(path).expanduser()
    place = locate(path, part)
    if place is None:
        raise DataError(f"{printable(path)}: there is no test part: no test file or folder beside one called train")
    found = Findings(policy)
    details: dict[str, Any] = {"part": part, "path": printable(path)}
    if place.unused:
        details["unused"] = place.unused
    names: list[str] | None = None
    if place.how == "collection":
        collection = read_collection(
            place.path,
            split=part,
            policy=policy,
            encoding=encoding,
            most_characters=most_characters,
            duplicates=duplicates,
        )
        return pairs_of(collection, duplicates)
    if unit != "line" and (
        place.how == "folder" or (unit == "file" and all(kind_of(f) == "text" for f in place.files))
    ):
        gathered, names = _gather_files(place, encoding, found, most_characters, details, folders)
    else:
        whole = place.how == "table"
        table = _open(place.files, encoding) if whole else _lines_of(place.path, encoding, found, folders)
        wishes = _wishes(columns, table, like)
        if not whole:
            wishes = replace(wishes, domain_column=DOMAIN if DOMAIN in table.names else None)
        roles = settled(roles_of(table.names, wishes, table.where), table, wishes.label_column is not None)
        gathered = gather(table, roles, found, most_characters, most_negatives, wishes.label_column is not None)
        details |= {"from": roles.texts, "label_column": roles.label, "score_column": roles.score}
        details["unused_columns"] = [name for name in table.names if name not in roles.columns]
    rows = len(next(iter(gathered.texts.values())))
    if not rows:
        lost = f" ({len(found.skipped)} rows are left out, {_first(found)})" if found.skipped else ""
        raise DataError(f"{printable(path)}: no texts in it{lost}")
    found.report(printable(path), rows)
    return _source(gathered, found, duplicates == "same-id", details, names)


def read_pair(path: str | Path, **settings: Any) -> tuple[TextSource, TextSource | None]:
    """Read the training part and, if there is one, the test part; both number their classes alike.

    Args:
        path: as for `read`.
        settings: further settings of `read`.

    Raises:
        DataError: as for `read`.
    """
    path = Path(path).expanduser()
    train = read(path, part="train", **settings)
    place = locate(path, "test")
    if place is None or (place.how == "collection" and find_split(splits_of(place.path), "test") is None):
        return train, None
    test = read(path, part="test", **settings)
    number_alike(train, test)
    return train, test


def read_texts(
    texts: Sequence[str] | Mapping[str, Sequence[str]],
    labels: Sequence[Any] | np.ndarray | None = None,
    targets: Sequence[float] | np.ndarray | None = None,
    duplicates: Duplicates = "same-id",
) -> TextSource:
    """A source of texts in memory: a list, or lists by role, {"anchor": ..., "positive": ..., "negative": ...}.

    Raises:
        DataError: no text, lists of different lengths, or an item that is no text.

    >>> source = read_texts(["a cat", "a  cat", "a dog"], labels=["cat", "cat", "dog"])
    >>> source.ids.tolist(), source.classes, source.details["task"]
    ([0, 0, 2], ['cat', 'dog'], 'texts with labels')
    """
    if isinstance(texts, str):
        raise DataError("texts: a single text; give a list of them")
    given = texts if isinstance(texts, Mapping) else {TEXT: texts}
    found = Findings("refuse")
    columns = {name: Column() for name in given}
    for name, column in columns.items():
        for row, text in enumerate(given[name]):
            place = f"{name}[{row}]"
            if not isinstance(text, str) or not (text.strip() or name.startswith(NEGATIVE)):
                raise DataError(f"{place}: {text!r} is no text, or an empty one; leave the row out")
            column.append(clean(text, place, found))
    if len({len(column.lengths) for column in columns.values()}) > 1:
        raise DataError(
            "texts: " + ", ".join(f"{len(column.lengths)} {name} texts" for name, column in columns.items())
        )
    numbers, classes = (None, list[str]()) if labels is None else encode_labels(labels)
    gathered = Gathered(
        {name: column.writer.strings() for name, column in columns.items()},
        {name: np.array(column.lengths, np.int64) for name, column in columns.items()},
        numbers,
        classes,
        None if targets is None else np.asarray(targets, np.float32),
        {},
    )
    if not any(map(len, gathered.texts.values())):
        raise DataError("texts: there are none")
    return _source(gathered, found, duplicates == "same-id", {"part": "train", "path": "texts in memory"}, None)


def _source(
    gathered: Gathered, found: Findings, by_content: bool, details: dict[str, Any], names: list[str] | None
) -> TextSource:
    texts = gathered.texts
    ids = None
    if by_content and POSITIVE in texts:
        ids = ids_of_pairs(texts[ANCHOR], texts[POSITIVE], gathered.targets is not None)
    elif by_content:
        ids = ids_of_texts(next(iter(texts.values())))
    task = task_of(list(texts), gathered.targets is not None, gathered.labels is not None)
    return TextSource(
        dict(texts),
        ids=ids,
        names=names,
        labels=gathered.labels,
        classes=gathered.classes,
        targets=gathered.targets,
        skipped=found.skipped,
        details={**details, "task": task, **gathered.facts(), "changed": found.facts()},
    ).in_domains(gathered.domains, f"{details['path']}, domains")


def _open(files: Sequence[Path], encoding: str | None) -> Table:
    if all(file.suffix.lower() in COLUMNAR for file in files):
        where, names, walk, classes = open_columnar(files)
        return Table(where, names, walk, classes)
    return joined([open_table(file, encoding) for file in files])


def _lines_of(folder: Path, encoding: str | None, found: Findings, levels: str) -> Table:
    """The lines of all text files of a folder, labelled by the folders in it."""
    listing = list_folder(folder, FOLDER_OF_TEXTS, "text", levels)
    told = {name: column for name, column in ((LABEL, listing.labels), (DOMAIN, listing.domains)) if column is not None}

    def walk(names: Sequence[str], findings: Findings) -> Iterator[Row]:
        for number, file in enumerate(listing.files):
            for place, cells in text_rows(file, encoding, findings):
                yield place, cells | {name: column[number] for name, column in told.items()}

    for item in listing.skipped:
        found.skip(item.name, item.reason)
    return Table(printable(folder), [TEXT, *told], walk)


def _gather_files(
    place: Place, encoding: str | None, found: Findings, most_characters: int, details: dict[str, Any], levels: str
) -> tuple[Gathered, list[str]]:
    """Whole files as texts; one that cannot be read is skipped as a row would be."""
    if place.how == "folder":
        listing = list_folder(place.path, FOLDER_OF_TEXTS, "text", levels)
        files, folders, ignored, domains = listing.files, listing.labels, listing.ignored, listing.domains
        for item in listing.skipped:
            found.skip(item.name, item.reason)
    else:
        files, folders, ignored, domains = place.files, None, {}, None
    if ignored:
        details["ignored"] = ignored
    column, names, labels, places = Column(), list[str](), list[str](), list[str]()
    for number, file in enumerate(files):
        try:
            text = clean("".join(lines(file, encoding, found)), printable(file), found, most_characters)
        except DataError as error:
            found.skip(printable(file), str(error).removeprefix(printable(file)).lstrip(": "))
            continue
        if not text:
            found.skip(printable(file), "an empty file")
            continue
        column.append(text)
        names.append(printable(file))
        labels.append("" if folders is None else folders[number])
        places.append("" if domains is None else domains[number])
    numbers, classes = (None, list[str]()) if folders is None else encode_labels(labels, printable(place.path))
    lengths = {TEXT: np.array(column.lengths, np.int64)}
    said = None if domains is None else places
    return Gathered({TEXT: column.writer.strings()}, lengths, numbers, classes, None, {}, said), names


def _wishes(columns: Mapping[str, Any], table: Table, like: Mapping[str, Any] | None) -> Wishes:
    """What the user says of columns; of a table to embed, only those of its texts need be there."""
    wanted = {name: value for name, value in columns.items() if value is not None}
    if like is not None:
        for setting in ("label_column", "score_column", "negative_columns", "domain_column"):
            named = wanted.get(setting)
            if any(name and name not in table.names for name in ([named] if isinstance(named, str) else named or [])):
                del wanted[setting]
    return Wishes(**wanted)


def _first(found: Findings) -> str:
    item = found.skipped[0]
    return f"the first: {item.name}: {item.reason}"


def _check(**choices: tuple[str, Any]) -> None:
    for name, (value, kind) in choices.items():
        if value not in get_args(kind):
            raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
