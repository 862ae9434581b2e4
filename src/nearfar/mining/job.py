"""A mining from start to end: parts, then the tables and the record beside them. It can be killed and run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.errors import ConfigError
from nearfar.training.checkpoint import write_whole
from nearfar.version import VERSION

from .mining import Mined, Mining, added
from .near import Near
from .parts import Parts
from .tables import Column, check_kind, lines_of, training_of, write_table


@dataclass(frozen=True)
class Report:
    """What a mining gave.

    Attributes:
        out, training: the tables that were written. lines: of each. counts: see `Mined`.
    """

    out: Path
    training: Path | None
    lines: dict[str, int]
    counts: dict[str, int]

    def __str__(self) -> str:
        counts = dict(self.counts)
        queries, candidates = counts.pop("queries"), counts.pop("candidates")
        short = {name: counts.pop(name) for name in list(counts) if "queries" in name}
        parts = [f"{queries:,} queries, {candidates:,} candidates"]
        parts += [
            f"  removed as {name}: {count:,} ({count / max(1, candidates):.1%})" for name, count in counts.items()
        ]
        parts += [f"  {name}: {count:,}" for name, count in short.items() if count]
        return "\n".join(parts)


def mine_into(
    mining: Mining,
    out: str | Path,
    query_ids: Column,
    document_ids: Column,
    training: str | Path | None = None,
    queries: Column | None = None,
    documents: Column | None = None,
    progress: bool = False,
    trusted: Near | None = None,
    **facts: Any,
) -> Report:
    """Mine into a table `out`, a table `training` in the form that `fit` reads, and a record `out`.json.

    Until all is done the parts lie in `out`.parts; started again with the same settings, it goes on with them.

    Args:
        query_ids, document_ids: (Q,) and (N,) names for the lines of `out`.
        queries, documents: (Q,) and (N,) what stands in `training`: texts; the ids when None.
        trusted: the positives that go into `training`, such as those that are `consistent`; all known ones when None.
        facts: what else decides the result and belongs into the record, such as the hash of a model.

    Raises:
        ConfigError: a file that is there already, or one of another kind; an unfinished mining with other settings.
    """
    out, form = free(out, training)
    if form is not None and mining.near is None:
        raise ConfigError("the form for training needs known positives; there are none")
    parts = mining.run_into(_folder(out), progress, **facts)
    lines = {out.name: write_table(out, (lines_of(mined, query_ids, document_ids) for mined in _mined(parts)))}
    if form is not None:
        texts = (query_ids if queries is None else queries, document_ids if documents is None else documents)
        lines[form.name] = write_table(form, _training(mining, parts, trusted or mining.near, *texts))
    counts = added([mined.counts for mined in _mined(parts)])
    if trusted is not None and mining.near is not None:
        counts["pairs that queries do not find again"] = len(mining.near.pairs) - len(trusted.pairs)
    record = {"nearfar": VERSION, "counts": counts, "lines": lines, "settings": parts.settings}
    write_whole(out.with_name(f"{out.name}.json"), json.dumps(record, indent=1).encode())
    parts.remove()
    return Report(out, form, lines, counts)


def free(out: str | Path, training: str | Path | None) -> tuple[Path, Path | None]:
    """The paths of both tables, after a look whether they can be written.

    Raises:
        ConfigError: one is there already and belongs to no unfinished mining, or is of an unknown kind.
    """
    out, form = check_kind(out), None if training is None else check_kind(training)
    for path in (out, form):
        if path is not None and path.exists() and not _folder(out).is_dir():
            raise ConfigError(f"{path} is there already; delete it or choose another name")
    if form is not None and form.resolve() == out.resolve():
        raise ConfigError(f"{out} cannot hold both tables; choose two names")
    return out, form


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _mined(parts: Parts) -> Iterator[Mined]:
    return (Mined(**{**part, "reasons": tuple(part["reasons"])}) for part in parts)


def _training(
    mining: Mining, parts: Parts, near: Near | None, queries: Column, documents: Column
) -> Iterator[dict[str, list[Any]]]:
    assert near is not None
    for number, mined in enumerate(_mined(parts)):
        rows = np.arange(number * mining.block, min((number + 1) * mining.block, mining.miner.queries))
        negatives = mined.negatives(rows, mining.negatives)
        yield training_of(rows, negatives, near.of(rows), queries, documents)
