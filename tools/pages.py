"""A page for each objective: what it is, when to use it, its formula, pieces, arguments, cost and source."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from typing import Any

import torch

from nearfar.contrast import Composition, Objective, Scores
from nearfar.contrast.reductions import Reduction
from nearfar.objectives import catalogue

from .latex import latex

HIDDEN = ("strategy",)


def page(name: str, entry: type[Objective], pairs: str) -> str:
    """The page of one objective; `pairs` says who is near and far by default."""
    meaning, *text = inspect.cleandoc(entry.__doc__ or "").split("\n\n")
    body, examples = [], []
    for part in text:
        (examples if ">>>" in part else body).append(part)
    parts = [f"# {name}", " ".join(meaning.split()), f"```math\n{latex(entry.formula)}\n```"]
    parts += [f"In plain text: `{entry.formula}`", f"**Use it when** {entry.use}."]
    if entry.reconstructed:
        parts.append(f"**Unconfirmed.** {entry.reconstructed[:1].upper()}{entry.reconstructed[1:].rstrip('.')}.")
    parts += [facts(entry, pairs), "## Arguments", arguments(entry)]
    parts += ["## What to know", *map(_prose, (p for p in body if not p.startswith("Args:")))] if body else []
    if examples:
        parts += ["## Example", f"```python\n{_example(chr(10).join(examples))}\n```"]
    parts += ["## See also", _relatives(name, entry)]
    return "\n\n".join(parts) + "\n"


def facts(entry: type[Objective], pairs: str) -> str:
    """The table of pieces."""
    near, far = pairs.split(" / ", 1)
    rows = [("near, by default", near), ("far, by default", far)]
    if issubclass(entry, Composition):
        made: Any = entry()
        rows += [("similarity", f"`{made.similarity!r}`: `{made.similarity.formula}`")]
        rows += [("statistics", made.pieces()["statistics"])]
        needs = {"near": "near candidates", "both": "near and far candidates", "any": "no candidate in particular"}
        rows += [("an anchor counts when it has", needs[entry.needs])]
    chance = f"`{entry.at_chance}`, for two views of N items" if entry.at_chance else "not defined"
    rows += [("value at chance", chance), ("cost", cost(entry))]
    rows += [("labels", "needed" if entry.supervised else "not needed")]
    rows += [("source", entry.source)] + ([("equal to", entry.equal_to)] if entry.equal_to else [])
    return "\n".join(["| | |", "|---|---|", *(f"| {a} | {b.replace('|', chr(92) + '|')} |" for a, b in rows)])


def cost(entry: type[Objective]) -> str:
    """What it takes of time and memory, as far as its kind decides it."""
    if not issubclass(entry, Composition):
        if not entry.cost:
            raise ValueError(f"{entry.__name__} compares no pairs: say in its attribute `cost` what it takes")
        return entry.cost
    if entry.cost:
        return entry.cost
    sweeps, whole = _asked(entry)
    if whole:
        return "whole rows of scores, panel by panel: N x N in time, N D and a panel in memory"
    times = {0: "near pairs only", 1: "one sweep over the tiles"}.get(sweeps, f"{sweeps} sweeps over the tiles")
    return f"{times}: N x N in time, N D and a tile in memory"


def _asked(entry: type[Composition]) -> tuple[int, bool]:
    """How often an objective asks for statistics, and whether for whole rows."""
    seen = {"sweeps": 0, "rows": 0}

    class Counting(Scores):
        def reduce(self, *reductions: Reduction) -> list[torch.Tensor]:
            seen["sweeps"] += any(r.over != "near" for r in reductions)
            return super().reduce(*reductions)

        def rows(self, function: Any, given: tuple[torch.Tensor, ...] = ()) -> tuple[torch.Tensor, ...]:
            seen["rows"] += 1
            return super().rows(function, given)

    objective: Any = entry()
    z = torch.eye(2, 4)
    with torch.no_grad():
        made = objective._arrange((z, z), None, None, None, None, None, "dense")
        temperature = objective.temperature() if callable(objective.temperature) else objective.temperature
        objective._terms(
            Counting(objective.similarity, made.anchors, made.candidates, made.relation, temperature, "dense")
        )
    return seen["sweeps"], seen["rows"] > 0


def arguments(entry: type[Objective]) -> str:
    """Names, defaults and what the docstring says of them."""
    said = described(entry)
    lines = ["| argument | default | meaning |", "|---|---|---|"]
    made: Any = entry()
    for field in dataclasses.fields(made):
        if field.init and field.name not in HIDDEN:
            default = getattr(made, field.name)
            shown = (
                f"{type(default).__name__}({default.extra_repr()})" if isinstance(default, torch.nn.Module) else default
            )
            lines.append(f"| `{field.name}` | `{shown!s}` | {said.get(field.name, '').replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def described(entry: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of arguments, in the words nearest to the class."""
    found: dict[str, str] = {"temperature": "divides every score; a number or a `LearnedTemperature`"}
    for kind in reversed(entry.__mro__):
        text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
        section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", text, re.M)
        if section:
            for names, meaning in re.findall(r"^ {4}(\w[\w, ]*): ((?:.*)(?:\n {6,}.*)*)", section[1], re.M):
                for one in names.split(", "):
                    found[one] = " ".join(meaning.split())
    return found


def _prose(text: str) -> str:
    """A paragraph of a docstring; its own list items keep their lines."""
    if re.match(r"\s*- ", text):
        return re.sub(r"\n\s+(?!\s*- )", " ", text)
    return " ".join(text.split())


def _example(text: str) -> str:
    """The lines of a doctest as a program, with what they print as comments."""
    lines = ["import torch", "", "from nearfar.contrast import *", "from nearfar.objectives import *", ""]
    for one in doctest.DocTestParser().get_examples(text):
        lines += one.source.rstrip().splitlines()
        lines += [f"# {line}" for line in one.want.splitlines()]
    return "\n".join(lines)


def _relatives(name: str, entry: type[Objective]) -> str:
    """Those of the same file, and the guide."""
    others = [n for n, e in catalogue().items() if e.__module__ == entry.__module__ and n != name]
    linked = ", ".join(f"[{n}]({n}.md)" for n in others)
    return (f"Of its kind: {linked}. " if linked else "") + (
        "[Which objective for my data](../which-objective.md); [all objectives](../objectives.md)."
    )
