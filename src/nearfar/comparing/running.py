"""The whole comparison: plan, train each in a process of its own, measure all on the same rows, and write it down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .. import modalities, starting
from ..errors import ConfigError, DataError
from ..report.text import plural
from ..run import save
from ..training import Interrupted, TrainingSettings
from ..training.rng import preserved
from ..version import VERSION
from . import rows as row_parts
from .comparison import Comparison
from .course import TEST_SHARE, Course
from .plan import Asked, Plan, contenders, locate
from .plan import budget as budget_of
from .processes import alone
from .progress import Progress
from .rows import Rows

PLAN, FIGURES, PAGE = "plan.json", "compare.json", "compare.html"


def compare(
    data: str | Path,
    methods: Sequence[Asked],
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    budget: str | float | None = None,
    encoder: str | None = None,
    seeds: int = 1,
    seed: int = 0,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    modality: str | None = None,
    per_class: int | None = None,
    k: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
    on_step: Callable[[str], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Train several methods on equal terms, measure them by the same probes, and write one table and one page.

    Every method is a run of its own in `out/runs`, trained in a process of its own. Called again with the same
    arguments and `out`, what is finished is kept, what was interrupted or killed goes on, what failed is tried again,
    and methods that are new are added.

    Args:
        data: a path, or "bundled:fashion".
        methods: names, or names with settings of their own: `("simclr", {"objective": "DCL"})`.
        out: the folder; `runs/<date>-compare` when None.
        steps, epochs, budget: how long each is trained; one of them. A budget is a time such as "90s", "5m" or "1h" of
            training, from which the number of steps follows by the speed of the method, measured beforehand.
        encoder: as in `fit`; the same for all.
        seeds: how often each is trained, with seeds from `seed` on.
        own: settings of all variants of one method: `{"swav": {"prototypes": 64}}`.
        per_class, k: of the few-label and the kNN probe; 10 and 20, or fewer where the data have fewer.
        on_step: gets a line for every run that is over.
        settings: any setting of `fit`; one that only some methods know goes to those. With `held_out` a share of the
            pairs is kept from all methods and searched, the same share whatever the seeds.

    Raises:
        ConfigError: an unknown method or setting, more rows in a batch than there are, or a folder with another
            comparison. DataError: data that cannot be used. Interrupted: Ctrl-C, after the checkpoint is written.

    >>> print(compare("photos/", ["simclr", "moco", "swav"], budget="5m"))    # doctest: +SKIP
    """
    path, made_budget = locate(data), budget_of(steps, epochs, budget)
    held_out = TrainingSettings(**{"held_out": settings.pop("held_out", 0.0)}).held_out
    if seeds < 1:
        raise ConfigError(f"seeds says how often each method is trained: 1 or more, not {seeds}")
    kind = modalities.find(modality) if modality else modalities.recognise(path, settings)
    chosen, left_out = contenders(methods, settings, own or {}, kind)
    out = Path(out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-compare").expanduser()
    _check_free(out)
    say = on_step or (lambda text: None)
    with alone(out, say) as hold:
        options = kind.Options(**{k: v for k, v in settings.items() if k in kind.Options.model_fields})
        bars = Progress(len(chosen) * seeds, progress, say, made_budget.seconds)
        rows = row_parts.read(path, kind, options, out / "cache", TEST_SHARE, bars.shown, held_out)
        with preserved():
            wanted = encoder and starting.full_name(encoder)
            name, _, start = starting.build(kind, wanted, rows.train.describe(), options)
        plan = Plan(
            data=str(path),
            given=str(data),
            modality=kind.name,
            encoder=name,
            weights=start["sha256"] if start else None,
            contenders=chosen,
            seeds=list(range(seed, seed + seeds)),
            budget=made_budget,
            shared={**settings, "held_out": held_out} if held_out else settings,
            left_out=left_out,
            measuring=_measuring(rows, per_class, k),
            fingerprint=rows.train.fingerprint() + rows.test.fingerprint(),
            command=command or "",
        )
        _check_batches(plan, rows)
        _remember(plan, out)
        course = Course(plan, kind, rows, out, hold, bars)
        try:
            lines = [course.contender(one) for one in chosen]
            lines += course.baselines()
        except KeyboardInterrupt:
            raise _stopped(Interrupted(0, "SIGINT", out), out) from None
        except Interrupted as stop:
            raise _stopped(stop, out) from None
        finally:
            bars.close()
        made = Comparison(
            terms=plan.terms(),
            lines=lines,
            out=out,
            command=plan.command,
            given=plan.given,
            version=VERSION,
            created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            rows=_facts(rows),
            notes=_notes(plan, rows),
        )
        write(made)
    return made


def write(comparison: Comparison) -> Path:
    """Write `compare.json` and `compare.html`; returns the page."""
    from ..report.comparison import write_comparison

    comparison.save(comparison.out / FIGURES)
    return write_comparison(comparison.out / PAGE, comparison.to_json())


def _measuring(rows: Rows, per_class: int | None, k: int | None) -> dict[str, Any]:
    """Settings of the probes that these data allow; what the user asks for is taken as it is."""
    if not rows.labelled or rows.train.labels is None:
        return {}
    known = rows.train.labels[rows.train.labels >= 0]
    fewest = int(np.unique(known, return_counts=True)[1].min())
    return {"per_class": per_class or min(10, fewest), "k": k or min(20, len(known))}


def _check_batches(plan: Plan, rows: Rows) -> None:
    for one in plan.contenders:
        mines = [name for name in ("refresh", "replace_every") if one.settings.get(name) is not None]
        if mines:
            if plan.budget.seconds is not None:
                raise ConfigError(
                    f"{one.name}: {mines[0]} mines between steps, which a time budget does not count; give --steps or "
                    "--epochs"
                )
            if not hasattr(rows.train, "mined"):
                raise ConfigError(f"{one.name}: {mines[0]} mines negatives of pairs of texts, not of {rows.train.kind}")
        size = int(one.settings.get("batch_size", TrainingSettings.model_fields["batch_size"].default))
        count = len(row_parts.learned(rows, one.supervised))
        if size > count:
            kind = "labelled rows" if one.supervised else "rows"
            raise ConfigError(
                f"{one.name}: a batch of {size} of {count} {kind} to learn from; choose batch_size {count} or less"
            )
        if one.supervised and not rows.labelled:
            raise DataError(f"{one.name} learns from labels, and these data have none; leave it out, or label the data")


def _check_free(out: Path) -> None:
    if out.exists() and not (out / PLAN).exists():
        others = sorted(entry.name for entry in out.iterdir() if entry.name not in (".lock", "cache"))
        if others:
            raise ConfigError(f"{out} holds {others[0]} and no comparison; choose another folder with --out")


def _remember(plan: Plan, out: Path) -> None:
    """Keep the terms in the folder, or see that they are those of the comparison that is there.

    Raises:
        ConfigError: they differ.
    """
    terms = plan.terms()
    lines = {one.name: json.loads(json.dumps(one.settings, default=str)) for one in plan.contenders}
    if (out / PLAN).exists():
        kept = json.loads((out / PLAN).read_text(encoding="utf-8"))
        _check_same(out, kept["terms"], terms)
        for name, settings in lines.items():
            if name in kept["lines"] and kept["lines"][name] != settings:
                _check_same(out, kept["lines"][name], settings, f" of {name}")
        lines = {**kept["lines"], **lines}
    save(out / PLAN, json.dumps({"terms": terms, "lines": lines, "command": plan.command}, indent=1).encode())


def _check_same(out: Path, kept: dict[str, Any], now: dict[str, Any], whose: str = "") -> None:
    if kept.get("data") != now.get("data"):
        raise ConfigError(
            f"the data have changed since the comparison in {out} began; choose another folder with --out"
        )
    for key in {**kept, **now}:
        if kept.get(key) != now.get(key):
            raise ConfigError(
                f"{out} holds a comparison with other settings: {key}{whose} is {kept.get(key)!r} there and "
                f"{now.get(key)!r} here; give the same ones to go on with it, or choose another folder with --out"
            )


def _stopped(stop: Interrupted, out: Path) -> Interrupted:
    stop.args = (f"stopped; what is done stands in {out}, and the same command with --out {out} goes on from there",)
    return stop


def _facts(rows: Rows) -> dict[str, Any]:
    return {
        "train": rows.train.describe(),
        "learned_from": len(rows.train),
        "scored_on": len(rows.test),
        "split": "" if rows.whole else f"{rows.apart} held out before training",
        "labelled": rows.labelled,
        "cpus": os.cpu_count(),
    }


def _notes(plan: Plan, rows: Rows) -> list[str]:
    """What a reader must know before believing a figure."""
    facts = rows.train.describe()
    shape = " x ".join(map(str, facts["shape"]))
    batch = plan.shared.get("batch_size", TrainingSettings.model_fields["batch_size"].default)
    notes = [
        f"each method learned from the same {plural(len(rows.train), 'row')} ({facts['kind']}, {shape}) with encoder "
        f"{plan.encoder}, batches of {batch}, for {plan.budget}"
        + (f", {len(plan.seeds)} times with seeds {plan.seeds[0]} to {plan.seeds[-1]}" if len(plan.seeds) > 1 else "")
        + (f"; scored on {len(rows.test):,} others" if rows.scored else "")
    ]
    if rows.scored:
        notes.append(
            "[low, high] is the 95% interval over the scored rows"
            + ("; ± is the standard deviation over seeds" if len(plan.seeds) > 1 else "")
            + ". Differences are paired on these rows; p is corrected by Holm's rule for the number of methods, and = "
            "marks what chance explains (p of 0.05 or more). The best is chosen by the same figures, so that its lead "
            "is a little flattered"
        )
    else:
        notes.append(
            "the data have no labels of two or more classes, so only the geometry of the vectors was measured: it can "
            "show a collapse, but not which method is better"
            + (
                "; of these pairs some can be kept and searched: set held_out=0.2"
                if len(rows.train.parts()) > 1
                else ""
            )
        )
    if not rows.whole:
        notes.append(f"{rows.apart} were held out before training, as there is no test part")
    notes += [
        f"{key} is no setting of {', '.join(names)}, which trained without it" for key, names in plan.left_out.items()
    ]
    return notes
