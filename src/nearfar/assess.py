"""Assess a run: its vectors against raw features and the untrained encoder, on the same rows by the same probes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from .data.labels import renumber
from .data.source import Source
from .data.split import stratified_split
from .errors import ConfigError, DataError
from .evaluation import (
    ALL_PROBES,
    PROBES,
    VECTOR_PROBES,
    Difference,
    Evaluation,
    EvaluationSettings,
    Quality,
    compare,
    dense_probe,
    evaluate_vectors,
    feature_map,
    finetune_probe,
    pixel_map,
    reordered_quality,
    sections,
)
from .matching import WORDS, Matches, by_words, evaluations, of_collection, wanted
from .methods.method import Method
from .modalities import Masked, Views
from .opening import Untrained, open_run
from .run import Run, save, shown
from .scoring import scorer_of
from .training import TrainingSettings

OURS, UNTRAINED, UNTOUCHED = "nearfar", "untrained encoder", "pretrained encoder, untouched"
LISTED = 12  # class names that are printed

Say = Callable[[str], None]


@dataclass(frozen=True)
class Assessment:
    """Evaluations of the run and of its baselines on the same rows.

    Attributes:
        evaluations: "nearfar" first, then the encoder before training (of an encoder by name there is none), then the
            raw features.
        gains: per baseline and metric, the paired difference of the run to it.
        train, test: the rows that probes were fitted on and scored on; test_vectors: (M, D) of the run. Where the data
            say what belongs together in place of classes, both are what searches, or the first texts of pairs.
        matches: what belongs together, where the data say it.
    """

    evaluations: dict[str, Evaluation]
    gains: dict[str, dict[str, Difference]]
    train: Source
    test: Source
    test_vectors: np.ndarray
    matches: Matches | None = None

    def __str__(self) -> str:
        ours = self.evaluations[OURS]
        parts = [self._rows(), sections(self.evaluations, self.gains)]
        if ours.dense_per_class:
            listed = (f"{row['name']} {row['iou'].short()}" for row in ours.dense_per_class)
            parts.append("IoU of each class of pixels: " + ", ".join(listed))
        ends = [*(f"Note: {note}" for note in ours.notes), *([ours.verdict] if ours.verdict else [])]
        return "\n\n".join([*parts, "\n".join(ends)] if ends else parts)

    def _rows(self) -> str:
        """Which rows were fitted on and scored on, and what their classes are called."""
        if self.matches is not None:
            return str(self.matches)
        where = [Path(source.details.get("path", "memory")).name for source in (self.train, self.test)]
        apart = f" of {where[1]}" if where[1] != where[0] else ""
        text = f"Fitted on {len(self.train):,} rows of {where[0]}, scored on {len(self.test):,} rows{apart}."
        names = self.train.classes
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        listed = ", ".join(names[:LISTED]).encode("utf-8", "backslashreplace").decode()  # bytes that were not UTF-8
        return f"{text} Classes: {listed}{more}." if names else text

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "rows": {"train": self.train.describe(), "test": self.test.describe()},
            "evaluations": {name: e.to_json() for name, e in self.evaluations.items()},
            "gains": {name: {k: d.to_json() for k, d in ds.items()} for name, ds in self.gains.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON."""
        return save(Path(path), json.dumps(self.to_json(), indent=1).encode())


def evaluate(
    run: Run | str | Path,
    data: str | Path | Source,
    test: str | Path | Source | None = None,
    probes: Sequence[str] | None = None,
    test_share: float = 0.2,
    baselines: bool = True,
    backgrounds: str | Path | None = None,
    progress: bool | None = None,
    on_step: Say | None = None,
    devices: int = 1,
    rerank: Run | str | Path | None = None,
    words: bool = False,
    **settings: Any,
) -> Assessment:
    """Measure a run on labelled data, beside raw features and the untrained encoder.

    Args:
        run: a run, its folder, or an encoder by name (see `nearfar.opening.open_run`).
        data: labelled rows, of what the run was trained on or of something else; where they come in train and test
            parts, probes are fitted on one and scored on the other. For "dense": pictures with masks or transparency
            (see `nearfar.modalities.images.masks`), which all other probes then see too.
        test: other data to score on.
        probes: any of "knn", "linear", "fewshot", "retrieval", "geometry"; on request "clustering", "episodes",
            "finetune" and "dense", which take longer. Of pairs and collections, which have no classes: "similarity",
            "pairs" and "search". When None the first five, or the one that is usual for such pairs.
        test_share: of the rows held out, by class, where there is no test part.
        baselines: also evaluate raw features and the untrained encoder.
        backgrounds: a folder of photographs on which cut-outs are pasted ("dense").
        progress: show bars; on a terminal only when None.
        on_step: told what is being done.
        devices: processes that share the rows that are embedded; the probes are those of one.
        rerank: a run whose scores put in order what the run has found ("search"; see `nearfar.scoring.scorer_of`), of
            each query the first `rerank_depth`.
        words: also search by words (BM25), where texts are searched.
        settings: any of `EvaluationSettings`: per_class, draws, k, seed, finetune_steps, dense_cells, ...

    Raises:
        DataError: no labels, one class, or too few rows for a probe. ConfigError: an unknown probe or setting, or a
        probe that the run's data or encoder do not allow.

    >>> print(evaluate("runs/fashion", "photos/"))                          # doctest: +SKIP
    """
    if probes is not None:
        check_probes(probes)
    chosen = EvaluationSettings(**settings)
    if backgrounds is not None and "dense" not in (probes or ()):
        raise ConfigError("backgrounds serve the dense probe only; add it to the probes, or leave them out")
    run = run if isinstance(run, Run) else open_run(run, data)
    say = on_step or (lambda text: None)
    masks: tuple[Masked, Masked] | None = None
    train: Source
    held: Source
    if "dense" in (probes or ()):
        masks = _masked(run, data, test, backgrounds, test_share, chosen.seed, progress)
        train, held = masks[0].source, masks[1].source
    else:
        collection = run.collection(data if test is None else test)
        if collection is not None:
            judged = of_collection(collection)
            return _matched(run, judged, probes, chosen, baselines, devices, progress, say, rerank, words)
        first, other = run.read(data, progress)
        other = other if test is None else run.read(test, progress)[0]
        matches = wanted(first, other, probes)
        if matches is not None:
            return _matched(run, matches, probes, chosen, baselines, devices, progress, say, rerank, words)
        if rerank is not None:
            raise ConfigError("what a search finds is put in order; these data say of classes, not of what is relevant")
        if test is None and first.domains is not None:
            first, other = _by_domain(run, first, other)
        train, held = _labelled(first, other, test_share, chosen.seed)
    probes = probes or PROBES
    looks = _looks(run, baselines, devices)
    of_vectors = [probe for probe in probes if probe in VECTOR_PROBES]
    found: dict[str, Evaluation] = {}
    test_vectors = np.empty((0, 0), dtype=np.float32)
    for look in looks:

        def report(probe: str, done: int = 0, total: int = 0, name: str = look.name) -> None:
            if probe != "done" or not total:  # what follows the probes of vectors is not done with them
                say(f"{name}: {probe}")

        result = Evaluation(counts={"train": len(train), "test": len(held)})
        if of_vectors or look.name == OURS:
            report("vectors")
            vectors = look.vectors(held, progress)
            test_vectors = vectors if look.name == OURS else test_vectors
        with _naming(train):
            if of_vectors:
                result = evaluate_vectors(
                    look.vectors(train, progress), train.labels, vectors, held.labels,
                    probes=of_vectors, classes=train.classes or None, progress=report, **chosen.of_vectors(),
                )  # fmt: skip
            if "linear" in of_vectors and train.domains is not None:
                learned = look.vectors(train, progress)
                result.add_domains(learned, train.domains, chosen.strength, chosen.resamples, chosen.seed)
            if "finetune" in probes and look.method is not None:
                look.finetune(result, train, held, chosen, report, progress)
            if masks is not None:
                look.dense(result, *masks, chosen, report, progress)
        found[look.name] = result
        report("done")
    return Assessment(found, _gains(found), train, held, test_vectors)


def check_probes(probes: Sequence[str]) -> None:
    """Raises ConfigError for a probe that does not exist, or when there is none."""
    unknown = [probe for probe in probes if probe not in ALL_PROBES]
    if unknown or not probes:
        asked = f"there is no probe {unknown[0]!r}" if unknown else "no probe was asked for"
        raise ConfigError(f"{asked}; there are {', '.join(ALL_PROBES)}")


@dataclass(frozen=True)
class _Look:
    """One way to look at rows: an encoder of the run, or, without one, the rows as they are."""

    name: str
    run: Run
    method: Method | None
    devices: int

    def vectors(self, source: Source, progress: bool | None) -> np.ndarray:
        if self.method is None:
            return self.run.modality.raw(source)
        return self.run.vectors_of(self.method, source, progress, devices=self.devices)

    def finetune(
        self, into: Evaluation, train: Source, held: Source, chosen: EvaluationSettings, say: Say, progress: bool | None
    ) -> None:
        if train.labels is None or held.labels is None:
            raise DataError("finetune needs labels, and there are none; give class folders or a label column")
        with _bar(f"fine-tuning {self.name}", progress) as told:
            found = finetune_probe(
                self._encoder(), self._views(), train.rows, train.labels, held.rows, held.labels,
                progress=told, **chosen.of_finetune(),
            )  # fmt: skip
        say("finetune")
        into.add("finetune", found.report, train.classes or None)
        into.finetune_draws = found.draws

    def dense(
        self,
        into: Evaluation,
        train: Masked,
        held: Masked,
        chosen: EvaluationSettings,
        say: Say,
        progress: bool | None,
    ) -> None:
        say("dense")
        with _bar(f"dense {self.name}", progress) as told:
            found = dense_probe(
                self._maps(train.source), train.masks, self._maps(held.source), held.masks,
                progress=told, **chosen.of_dense(),
            )  # fmt: skip
        into.add_dense(found, train.classes)
        if train.origin == "transparency":
            into.notes.append(
                "what is transparent shows white, so that colour alone can tell the background; paste the cut-outs on "
                "photographs (--backgrounds FOLDER)"
            )

    def _encoder(self) -> nn.Module:
        assert self.method is not None
        return self.method.encoder.to(TrainingSettings(**self.run.config["training"]).resolve_device())

    def _views(self) -> Views:
        return self.run.modality.views(self.run.config["source"], 1, self.run.options, self._encoder())

    def _maps(self, source: Source) -> Callable[[slice], torch.Tensor]:
        if self.method is None:
            return lambda part: pixel_map(source.rows(part))
        encoder, views = self._encoder(), self._views()
        device = next(encoder.parameters()).device
        return lambda part: feature_map(encoder, views.plain(source.rows(part).to(device)))


def _looks(run: Run, baselines: bool, devices: int) -> list[_Look]:
    """The run first, then what it is held against."""
    looks = [_Look(OURS, run, run.method, devices)]
    if baselines:
        if not isinstance(run, Untrained):
            looks.append(_Look(UNTRAINED if run.start is None else UNTOUCHED, run, run.fresh_method(), devices))
        looks.append(_Look(run.modality.baseline, run, None, devices))
    return looks


def _gains(found: dict[str, Evaluation]) -> dict[str, dict[str, Difference]]:
    return {name: compare(found[OURS], e) for name, e in found.items() if name != OURS}


def _matched(
    run: Run,
    matches: Matches,
    probes: Sequence[str] | None,
    chosen: EvaluationSettings,
    baselines: bool,
    devices: int,
    progress: bool | None,
    say: Say,
    rerank: Run | str | Path | None,
    words: bool,
) -> Assessment:
    """By data that say what belongs together."""
    looks: dict[str, Callable[[Source], np.ndarray]] = {
        look.name: partial(look.vectors, progress=progress) for look in _looks(run, baselines, devices)
    }
    if rerank is not None and matches.relevance is None:
        raise ConfigError("what a search finds is put in order; pairs with scores are not searched")
    looks[OURS] = cache(looks[OURS])
    found, ours = evaluations(matches, probes or matches.probes[:1], chosen, looks, say)
    if rerank is not None:
        name, quality = _reordered(matches, rerank, looks[OURS], chosen, say)
        found[name] = Evaluation(counts=found[OURS].counts)
        found[name].add_quality("search", quality)
    if words and "search" in (probes or matches.probes[:1]):
        say(f"{WORDS}: search")
        found[WORDS] = Evaluation(counts=found[OURS].counts)
        found[WORDS].add_quality("search", by_words(matches, chosen))
    return Assessment(found, _gains(found), matches.queries, matches.queries, ours, matches)


def _reordered(
    matches: Matches,
    rerank: Run | str | Path,
    vectors: Callable[[Source], np.ndarray],
    chosen: EvaluationSettings,
    say: Say,
) -> tuple[str, Quality]:
    """What the first search reaches once another run has put its lists in order, and what to call it."""
    assert matches.relevance is not None
    judge = rerank if isinstance(rerank, Run) else open_run(rerank, matches.documents)
    name = f"re-ranked by {judge.path.name if judge.trained else rerank}"
    say(f"{name}: search")
    return name, reordered_quality(
        vectors(matches.queries),
        vectors(matches.documents),
        matches.relevance,
        scorer_of(judge, matches.queries, matches.documents).score,
        chosen.measures,
        depth=chosen.rerank_depth,
        resamples=chosen.resamples,
        seed=chosen.seed,
    )


def _by_domain(run: Run, train: Source, held: Source | None) -> tuple[Source, Source | None]:
    """Rows of the domains that the run has learned from, and of those that it was to leave out, where there are any."""
    names = [name for name in run.domains.leave_out if name in train.domain_names]
    if not names or len(names) == len(train.domain_names):
        return train, held
    kept, out = run.domains.model_copy(update={"leave_out": names}).apart(train)
    assert out is not None
    out.details["path"] = f"{train.details.get('path', 'the data')} ({', '.join(names)})"
    return kept, out


def _labelled(train: Source, held: Source | None, test_share: float, seed: int) -> tuple[Source, Source]:
    """Rows to fit on and rows to score on, a number meaning one class in both."""
    if held is None:
        with _naming(train):
            return _split(train, test_share, seed)
    if held.labels is not None and held.classes != train.classes:
        held.labels, classes = renumber(held.labels, held.classes, train.classes)
        train.classes, held.classes = classes, list(classes)
    return train, held


def _masked(
    run: Run,
    data: str | Path | Source,
    test: str | Path | Source | None,
    backgrounds: str | Path | None,
    test_share: float,
    seed: int,
    progress: bool | None,
) -> tuple[Masked, Masked]:
    """Items with masks, where the modality has them."""
    if isinstance(data, Source) or isinstance(test, Source):
        raise ConfigError("the dense probe reads items with masks from folders; give their path")
    return run.modality.masked(
        Path(data),
        run.config["source"],
        shown(progress),
        test=test,
        backgrounds=backgrounds,
        test_share=test_share,
        seed=seed,
    )


@contextmanager
def _bar(what: str, progress: bool | None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for what tells (done, total)."""
    with tqdm(desc=what, leave=False, disable=not shown(progress)) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


@contextmanager
def _naming(data: Source) -> Iterator[None]:
    """Say in errors about labels which data they are about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{data.details.get('path', 'the data')}: {error}") from None


def _split(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    if source.labels is None:
        raise DataError(
            "no labels, so there is nothing to score against; give class folders, a label column "
            "(--label-column), or `labels` in the archive"
        )
    kept, held = stratified_split(source.labels, share, seed, source.classes)
    return source.select(kept), source.select(held)
