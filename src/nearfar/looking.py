"""What some data are and what can be done with them, before anything is learned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from . import methods, modalities
from .data import bundled
from .data.source import Source
from .modalities import Modality
from .run import recognised
from .settings import sort_settings

SHOWN = 5
WIDTH = 12
# What to begin with: for a kind of task the method, and its objectives, the first choice first.
STARTS = {
    "pairs": ("pairs", ("InfoNCE", "SymmetricInfoNCE", "MultipleNegatives", "SigLIP")),
    "pairs with negatives": ("pairs", ("InfoNCE", "MultipleNegatives")),
    "graded pairs": ("pairs", ("CoSENT", "AnglE", "CosineMSE")),
    "texts": ("simcse", ("InfoNCE",)),
    "labels": ("supcon", ("SupCon", "MultiSimilarity", "Circle", "TripletSemiHard")),
    "": ("simclr", ("NTXent", "DCL", "Debiased", "PolyView")),
}


@dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        path, modality: where, and as what it was read.
        train, test: `describe()` of the parts, None where there is none.
        judged: of collections of queries and documents, what each split of judgments holds.
        fits: methods that can learn from the training part.
        refused: the others, and what they lack.
    """

    path: str
    modality: str
    train: dict[str, Any] | None
    test: dict[str, Any] | None
    judged: dict[str, dict[str, Any]]
    fits: list[str]
    refused: dict[str, str]

    @property
    def start(self) -> tuple[str, tuple[str, ...]] | None:
        """The method to begin with and its objectives for such data, the first choice first; None without a part to
        learn from."""
        if self.train is None:
            return None
        form, _, more = self.train.get("task", "").partition(" with ")
        if form == "pairs" and "negatives" in more:
            return STARTS["pairs with negatives"]
        labelled = form in ("", "texts") and "supcon" in self.fits
        return STARTS["labels" if labelled else form]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        facts = self.train or {}
        task = facts.get("task", "collection" if self.judged else f"{self.modality} with labels" * _labelled(facts))
        lines = [("Data", f"{self.path}: {task or self.modality}")]
        for split, found in self.judged.items():
            lines.append((split.capitalize(), _judged(found)))
        for name, part in (("Rows", self.train), ("Test rows", self.test)):
            if part is not None:
                lines.append((name, _rows(part)))
        if facts.get("from"):
            lines.append(("Columns", ", ".join(f"{role} = {name}" for role, name in facts["from"].items())))
            lines.append(("Not used", _few(facts.get("unused_columns", []))))
        source = facts or next(iter(self.judged.values()), {})
        lines += [("Lengths", f"{name}: {_spread(found)}") for name, found in source.get("lengths", {}).items()]
        if facts.get("classes"):
            lines.append(("Labels", f"{len(facts['classes'])} classes: {_few(facts['classes'])}"))
        if facts.get("targets"):
            lines.append(("Scores", "from {:g} to {:g}".format(*facts["targets"])))
        lines += [("Left out", f"{item['name']}: {item['reason']}") for item in _skipped(facts)]
        for what, found in source.get("changed", {}).items():
            lines.append(("Changed", f"{found['rows']} rows: {what} ({', '.join(found['first'])})"))
        lines.append(
            (
                "Methods",
                ", ".join(self.fits)
                if self.fits
                else "none, for there is no part to learn from; give the file of documents for that",
            )
        )
        if self.start is not None:
            method, objectives = self.start
            usual = methods.find(method).Options.model_fields.get("objective")
            chosen = "" if usual is None or usual.default == objectives[0] else f" --set objective={objectives[0]}"
            lines.append(("Begin with", f"nearfar fit {self.path} --method {method}{chosen}"))
            lines.append(("Objectives", f"{', '.join(objectives)}; see: nearfar objectives {objectives[0]}"))
        reasons: dict[str, list[str]] = {}
        for name, reason in self.refused.items():
            reasons.setdefault(reason, []).append(name)
        lines += [("Not", f"{', '.join(names)}: {reason}") for reason, names in reasons.items()]
        return "\n".join(f"{name:<{WIDTH}}{text}" for name, text in lines if text)


def look(data: str | Path, modality: str | None = None, **options: Any) -> Look:
    """Read data and say what they are: the kind of task, counts, lengths, what is left out and why, what can learn.

    Args:
        data: as for `nearfar.fit`.
        modality: as for `nearfar.fit`.
        options: settings of reading, such as `label_column`.

    Raises:
        DataError: the data cannot be used. ConfigError: an unknown setting.
    """
    path = Path(bundled.located(data)).expanduser()
    made = modalities.find(modality) if modality else recognised(path, options)
    (settings,) = sort_settings(options, made.Options, elsewhere=modalities.elsewhere(made))
    searched = made.collection(path, settings)
    splits = [] if searched is None else searched.describe()["splits"]
    found = {split: made.collection(path, settings, split) for split in splits}
    judged = {split: collection.describe() for split, collection in found.items() if collection is not None}
    if searched is not None and "train" not in searched.describe()["parts"]:
        return Look(str(path), made.name, None, None, judged, [], {})
    train, test = made.read_pair(path, settings, None, None, False)
    reasons = {name: _lacking(kind, made, train) for name, kind in methods.catalogue().items()}
    return Look(
        str(path),
        made.name,
        train.describe(),
        None if test is None else test.describe(),
        judged,
        [name for name, reason in reasons.items() if not reason],
        {name: reason for name, reason in reasons.items() if reason},
    )


def _lacking(kind: type[methods.Method], made: Modality, source: Source) -> str:
    """What keeps a method from learning from some rows, "" where nothing does."""
    if kind.supervised and (source.labels is None or len(np.unique(source.labels[source.labels >= 0])) < 2):
        return "needs labels of two or more classes"
    if source.details.get("far") and not kind.takes_far:
        return "has no use for negatives, which can be left out"
    if kind.mines and (len(source.details.get("columns", ())) < 2 or source.targets is not None):
        return "needs pairs without scores"
    if "joint" in kind.asks and not kind.mines and not source.details.get("far"):
        return "needs pairs with negatives"
    views = get_type_hints(made.views)["return"]
    if lacking := [asked for asked in kind.asks if not hasattr(views, asked)]:
        return f"asks for views {' and '.join(lacking)}"
    return ""


def _labelled(facts: dict[str, Any]) -> bool:
    return bool(facts.get("labelled"))


def _rows(facts: dict[str, Any]) -> str:
    text = f"{facts['items']}"
    more = [f"{facts['skipped']} left out"] if facts["skipped"] else []
    if facts["duplicates"]:
        largest = f", at most {facts['largest_item']} rows one item" if "largest_item" in facts else ""
        more.append(f"{facts['duplicates']} the same item as another{largest}")
    more += [f"{facts['labelled']} with a label"] if facts["labelled"] else []
    return f"{text} ({', '.join(more)})" if more else text


def _judged(facts: dict[str, Any]) -> str:
    grades = ", ".join(f"{count} of grade {grade}" for grade, count in facts["grades"].items())
    unknown = ", ".join(
        f"{found['ids']} unknown {what} ({_few(found['first'])})" for what, found in facts["unknown"].items()
    )
    counts = f"{facts['queries']} queries, {facts['documents']} documents, {facts['judgments']} judgments: {grades}"
    return f"{counts}; {unknown}" if unknown else counts


def _spread(found: dict[str, int]) -> str:
    if not found["texts"]:
        return "none"
    return (
        f"{found['texts']} texts of {found['shortest']} to {found['longest']} characters, median {found['median']}, "
        f"95 % up to {found['95 %']}"
    )


def _skipped(facts: dict[str, Any]) -> list[dict[str, str]]:
    found = facts.get("skipped_examples", [])[:SHOWN]
    rest = facts.get("skipped", 0) - len(found)
    return [*found, *([{"name": "and", "reason": f"{rest} more"}] if rest > 0 else [])]


def _few(names: list[str]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")
