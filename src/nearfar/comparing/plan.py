"""What is to be compared: contenders, budget, seeds, and the settings that all of them share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..data import bundled
from ..errors import ConfigError, DataError
from ..methods import AROUND, Method, catalogue, find
from ..mining.settings import OF_REFRESH, OF_REPLACEMENT, MiningSettings
from ..modalities import Modality, elsewhere
from ..settings import Settings, sort_settings
from ..training import TrainingSettings

FORMAT = 1
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LENGTHS = ("steps", "epochs", "seed")

Asked = str | tuple[str, Mapping[str, Any]]
"""A method by name, or with settings of its own: `("simclr", {"objective": "DCL"})`."""


@dataclass(frozen=True)
class Budget:
    """How long every method is trained: one of steps, epochs and seconds of training time."""

    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g} s of training"
        return f"{self.steps} steps" if self.steps is not None else f"{self.epochs:g} epochs"


def budget(steps: int | None = None, epochs: float | None = None, time: str | float | None = None) -> Budget:
    """The budget that was asked for; ten epochs when nothing was.

    Raises:
        ConfigError: more than one length, or a time that cannot be read.

    >>> budget(time="5m").seconds, budget(time="1.5h").seconds, budget(steps=30).steps
    (300.0, 5400.0, 30)
    """
    given = {"steps": steps, "epochs": epochs, "budget": time}
    several = [f"{name} = {value}" for name, value in given.items() if value is not None]
    if len(several) > 1:
        raise ConfigError(f"the length is told in one way, not by {' and '.join(several)}")
    if time is not None:
        return Budget(seconds=_seconds(time))
    lengths: dict[str, Any] = {"steps": steps, "epochs": epochs}
    TrainingSettings(**lengths)  # which says what is wrong with either
    return Budget(steps, None if steps is not None else epochs or 10.0)


def _seconds(time: str | float) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", time) if isinstance(time, str) else None
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0 if isinstance(time, str) else float(time)
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"budget {time!r} is no time; write seconds, minutes or hours: 90s, 5m or 1h")
    return seconds


@dataclass(frozen=True)
class Contender:
    """One line of the comparison.

    Attributes:
        name: for people; the method and what its variant sets, such as "simclr objective=DCL".
        settings: all that `fit` is given for it, but for length and seed.
        own: what distinguishes it from the settings of all.
        supervised: it learns from labels, which the others do not see.
    """

    name: str
    method: str
    settings: dict[str, Any]
    own: dict[str, Any]
    supervised: bool

    @property
    def folder(self) -> str:
        """A folder name that stands for this name alone."""
        return quote(self.name.replace(" ", ","), safe="=,.+-")


@dataclass(frozen=True)
class Plan:
    """A comparison before it is run; equal plans on equal data give equal figures, but for the clock.

    Attributes:
        data: where the data lie, as an absolute path; `given`: as the user named them.
        encoder: the full name, also where the user named none; weights: SHA-256 of those that it starts from, None
            for random ones.
        shared: settings of all contenders, with those of the modality.
        left_out: shared settings that some methods do not know -> the contenders that do not.
        measuring: of the probes: per_class, k, and the share that is held out where there is no test part.
        fingerprint: of the rows and labels that are read.
    """

    data: str
    given: str
    modality: str
    encoder: str
    weights: str | None
    contenders: list[Contender]
    seeds: list[int]
    budget: Budget
    shared: dict[str, Any]
    left_out: dict[str, list[str]]
    measuring: dict[str, Any]
    fingerprint: str = ""
    command: str = ""

    def terms(self) -> dict[str, Any]:
        """What must be equal for a comparison to be continued, as JSON, but for the list of contenders."""
        terms = {
            "format": FORMAT,
            "data": self.fingerprint,
            "modality": self.modality,
            "encoder": self.encoder,
            "weights": self.weights or "random",
            "seeds": self.seeds,
            "budget": str(self.budget),
            **{f"measuring {key}": value for key, value in self.measuring.items()},
            **self.shared,
        }
        made: dict[str, Any] = json.loads(json.dumps(terms, default=str))
        return made


def contenders(
    asked: Sequence[Asked], shared: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], modality: Modality
) -> tuple[list[Contender], dict[str, list[str]]]:
    """The contenders, checked, and the shared settings that some of them do not know.

    Raises:
        ConfigError: an unknown method or setting, a contender named twice, or none.
    """
    if not asked:
        raise ConfigError(f"name the methods to compare, such as {', '.join(list(catalogue())[:3])}")
    if any("held_out" in given for given in (*own.values(), *(_parts(one)[1] for one in asked))):
        raise ConfigError("held_out is the same for all, which are measured on the same rows; set it for all")
    for method in own:
        find(method)
        if method not in [_parts(one)[0] for one in asked]:
            raise ConfigError(f"there are settings for {method!r}, which is not among the methods compared")
    kinds = {method: find(method) for method in (_parts(one)[0] for one in asked)}
    common = {*TrainingSettings.model_fields, *modality.Options.model_fields}
    common |= {name for group in AROUND.values() for name in group.model_fields}
    knows = {method: common | set(kind.Options.model_fields) | _of_mining(kind) for method, kind in kinds.items()}
    made: list[Contender] = []
    left_out: dict[str, list[str]] = {}
    for one in asked:
        method, variant = _parts(one)
        name = " ".join([method, *(f"{key}={_short(value)}" for key, value in variant.items())])
        special = {**own.get(method, {}), **variant}
        _refuse(name, special, modality)
        fits = {key: value for key, value in shared.items() if key in knows[method]}
        for key in shared.keys() - knows[method]:
            if any(key in known for known in knows.values()):
                left_out.setdefault(key, []).append(name)
            else:
                fits[key] = shared[key]  # nobody knows it: let the check below say so
        settings = {**fits, **special}
        groups: list[type[Settings]] = [
            TrainingSettings,
            kinds[method].Options,
            modality.Options,
            *AROUND.values(),
            MiningSettings,
        ]
        try:
            mining: MiningSettings = sort_settings(settings, *groups, elsewhere=elsewhere(modality))[-1]
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        if mining.mines and not kinds[method].takes_far:
            raise ConfigError(f"{name}: {method} has no use for mined negatives; leave out refresh, replace_every")
        if any(name == other.name for other in made):
            raise ConfigError(f"{name!r} is named twice; give one of them other settings, as in {method}:KEY=VALUE")
        made.append(Contender(name, method, settings, special, kinds[method].supervised))
    return made, left_out


def _of_mining(kind: type[Method]) -> set[str]:
    """Settings of mining that a method can follow: of negatives where it has a use for them, of batches always."""
    of_negatives = {"refresh", "replace_every", *OF_REFRESH, *OF_REPLACEMENT}
    return set(MiningSettings.model_fields) - (set() if kind.takes_far else of_negatives)


def _short(value: Any) -> str:
    """A value as people write it: 1e-05 and not 1.0000000000000001e-05, but never another number."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _parts(asked: Asked) -> tuple[str, dict[str, Any]]:
    return (asked, {}) if isinstance(asked, str) else (asked[0], dict(asked[1]))


def _refuse(name: str, special: Mapping[str, Any], modality: Modality) -> None:
    """Settings that would make the terms unequal."""
    for key in special:
        if key in _LENGTHS:
            raise ConfigError(f"{name}: {key} is the same for all methods; give it once, outside of the methods")
        if key in modality.Options.model_fields:
            raise ConfigError(f"{name}: {key} is a setting of data and views, which are the same for all methods")


def locate(data: str | Path) -> Path:
    """Where data lie: a path, or a set that comes with the package, as "bundled:fashion".

    Raises:
        ConfigError: no such bundled set. DataError: no such path.

    >>> locate("bundled:fashion").name
    'fashion.npz'
    """
    if not isinstance(data, str | Path):
        raise DataError("every method is trained in a process of its own, which reads the data itself: give a path")
    text = str(data)
    path = Path(bundled.located(text)).expanduser().resolve()
    if not path.exists():
        raise DataError(
            f"{text} does not exist; give a path, or one of {', '.join(bundled.NAMED + n for n in bundled.names())}"
        )
    return path
