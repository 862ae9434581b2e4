"""What can be said of a comparison, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from .comparison import LEVEL, Comparison, Line


def sentences(comparison: Comparison) -> list[str]:
    """Who is above the encoder before training, who is best and who is as good, what collapsed, and what failed."""
    methods = [line for line in comparison.lines if not line.baseline and line.found is not None]
    said = [*_above(comparison, methods), *_best(comparison), *_collapsed(methods)]
    return said + [f"{line.name} failed: {text}" for line in comparison.lines for text in line.failed]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def _above(comparison: Comparison, methods: Sequence[Line]) -> list[str]:
    """Which methods stand above the encoder before training, with intervals that do not overlap."""
    key, said = comparison.headline, []
    for reference in comparison.against:
        theirs = comparison.line(reference).metric(key) if reference != "best" else None
        if theirs is None or not comparison.quality:
            continue
        above = [line.name for line in methods if (ours := line.metric(key)) and ours.low > theirs.high]
        below = [line.name for line in methods if (ours := line.metric(key)) and ours.high < theirs.low]
        where = f"above the {reference} ({theirs.short()}) in {theirs.name} with intervals that do not overlap"
        if not above:
            said.append(f"No method stands {where}.")
        elif len(methods) == 1:
            said.append(f"{above[0]} stands {where}.")
        else:
            share = "All" if len(above) == len(methods) else f"{len(above)} of"
            said += [f"{share} {len(methods)} methods stand {where}.", f"Above it: {listed(above)}."]
        within = [line.name for line in methods if line.name not in above + below]
        if within and above:
            said.append(f"No such gap: {listed(within)}.")
        if below:
            said.append(f"Below it, with intervals that do not overlap: {listed(below)}.")
    return said


def _best(comparison: Comparison) -> list[str]:
    """The best method without labels, and which cannot be told apart from it."""
    key = comparison.headline
    if key not in comparison.best:
        return []
    best, tests = comparison.line(comparison.best[key]), comparison.against["best"][key]
    metric = best.metric(key)
    assert metric is not None
    labels = (
        [] if best.supervised else [line.name for line in comparison.lines if line.supervised and line.name in tests]
    )
    rivals = {name: test for name, test in tests.items() if name not in labels}
    said = []
    if rivals:
        kind = "The best without labels" if labels else "The best"
        said.append(f"{kind} in {metric.name} is {best.name}, {metric.short()}.")
        alike = [name for name, test in rivals.items() if test.corrected >= LEVEL]
        below = [name for name in rivals if name not in alike]
        if alike:
            said.append(
                f"Cannot be told apart from it (paired, p >= {LEVEL} after Holm's correction): {listed(alike)}."
            )
        if below:
            said.append(f"Below it by more than chance explains (p < {LEVEL} after correction): {listed(below)}.")
    if labels:
        verb = "use labels" if len(labels) > 1 else "uses labels"
        said.append(f"{listed(labels)} {verb}, which the other methods never see, and so is no rival to them.")
    return said


def _collapsed(methods: Sequence[Line]) -> list[str]:
    """What the monitors said while training, or the geometry of the vectors, where either is alarming."""
    said = []
    for line in methods:
        if line.alarms:
            said.append(f"{line.name}: {line.alarms[0]}")
        elif line.found is not None and not line.found.healthy:
            said.append(f"{line.name}: {line.found.verdict}")
    return said or (["No collapse was seen."] if methods else [])
