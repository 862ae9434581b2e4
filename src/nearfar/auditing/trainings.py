"""Several trainings in one folder, each of which is kept, gone on with, or begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .. import modalities
from ..comparing.course import TEST_SHARE
from ..comparing.rows import Rows, read
from ..data import bundled
from ..data.source import Source
from ..errors import ConfigError, DataError
from ..modalities import Modality
from ..run import CONFIG, Run, fit, recognised, resume, save
from ..training import TrainingSettings

PLAN = "audit.json"
Say = Callable[[str], None]


def folder(out: str | Path | None, what: str) -> Path:
    """Where the trainings lie; `runs/<date>-<what>` when nobody said it."""
    return Path(out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{what}").expanduser()


def labelled(
    data: str | Path, modality: str | None, settings: dict[str, Any], out: Path, progress: bool
) -> tuple[Rows, Modality]:
    """The labelled rows of some data, to learn from and to score on, and what kind of data they are.

    Raises:
        DataError: there are no labels of two classes or more, or a part cannot be used.
    """
    path = Path(bundled.located(data)).expanduser()
    kind = modalities.find(modality) if modality else recognised(path, settings)
    options = kind.Options(**{key: value for key, value in settings.items() if key in kind.Options.model_fields})
    rows = read(path, kind, options, out / "cache", TEST_SHARE, progress)
    if not rows.labelled or rows.train.labels is None or rows.test.labels is None:
        raise DataError(f"{path} has no labels of two classes or more, which an audit is made by; name a label column")
    return Rows(_known(rows.train), _known(rows.test), True, rows.apart), kind


def number_of(name: str | int, names: list[str], what: str) -> int:
    """A class or domain by its name or its number.

    Raises:
        ConfigError: there is none.

    >>> number_of("cat", ["bird", "cat"], "class"), number_of("0", ["bird", "cat"], "class")
    (1, 0)
    """
    text = str(name)
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise ConfigError(f"there is no {what} {text!r}; there are {', '.join(names)}")


def steps_of(settings: dict[str, Any], rows: int) -> dict[str, Any]:
    """Settings with the length of training in steps, as an epoch of so many rows has them.

    >>> steps_of({"epochs": 2, "batch_size": 50}, 100)
    {'batch_size': 50, 'steps': 4}
    """
    training = TrainingSettings(**TrainingSettings.among(settings))
    steps = training.total_steps(max(1, rows // min(training.batch_size, rows)))
    return {**{key: value for key, value in settings.items() if key != "epochs"}, "steps": steps}


def remember(out: Path, plan: dict[str, Any]) -> None:
    """Write what is asked for into the folder of an audit, or see that it is what was asked for before.

    Raises:
        ConfigError: the folder holds another audit.
    """
    file, text = out / PLAN, json.dumps(plan, indent=1, default=str)
    if not file.exists():
        save(file, text.encode())
        return
    there, asked = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
    wrong = [key for key in asked if there.get(key) != asked[key]]
    if wrong:
        raise ConfigError(
            f"{out} holds an audit with {wrong[0]} = {there.get(wrong[0])!r}, not {asked[wrong[0]]!r}; give another "
            "folder"
        )


def trained(source: Source, out: Path, say: Say, progress: bool | None, **settings: Any) -> Run:
    """A run on some rows: the one that lies in a folder, gone on with where it was interrupted, or a new one."""
    say(f"training {out.name}")
    return (
        resume(out, source, progress) if (out / CONFIG).is_file() else fit(source, out, progress=progress, **settings)
    )


def _known(source: Source) -> Source:
    assert source.labels is not None
    return source.select(np.flatnonzero(source.labels >= 0))
