"""Whose turn it is where a retriever and a judge of pairs learn from each other, what each gets, and how both do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .data.batch import Role
from .data.source import Source
from .errors import ConfigError
from .methods.ar2 import AR2
from .methods.method import Method
from .mining import Exact, Near
from .mining.found import NOBODY
from .mining.settings import MiningSettings
from .renewing import Renewal
from .training import TrainingSettings
from .training.protocols import Sampler
from .training.rng import preserved

if TYPE_CHECKING:
    from .run import Run

LOOKED = 300  # queries at most that both are measured on
HELD = ("dev", "val", "validation")  # judgments that nothing is learned from, by the names of their splits


class Turns:
    """Views of texts for the retriever, or of pairs of texts for the judge while it is `judging`."""

    def __init__(self, views: Any) -> None:
        self.plain, self.joint, self.judging = views, views.joint(), True

    @property
    def roles(self) -> Sequence[Role]:
        """Those of whose turn it is."""
        roles: Sequence[Role] = (self.joint if self.judging else self.plain).roles
        return roles

    def __call__(self, texts: Any, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """A tensor for each text, or for each candidate."""
        made: list[Tensor] = (self.joint if self.judging else self.plain)(texts, generator, part=part)
        return made

    def config(self) -> dict[str, Any]:
        """All settings as JSON."""
        return {"plain": self.plain.config(), **self.joint.config()}


class Alternation(Renewal):
    """Mines by the retriever, lets the judge learn, has it score what is mined, lets the retriever learn; again.

    All `refresh` updates the retriever mines (see `Renewal`), and the judge learns from what is found in the first
    `judge_share` of them. Then it scores, once, the candidates of the pairs that the retriever will see until the next
    mining. Here the judge learns before the retriever in each round, so that what teaches has seen what is taught; the
    official code has it the other way round, and a judge that is warmed up before.

    Attributes:
        turns: the views of the run, which are told whose turn it is.

    Raises:
        ConfigError: no minings, or none from the start; an encoder or data that `AR2` has no use for.
    """

    turns: Turns

    def __init__(self, run: Run, method: Method, pairs: Source, settings: MiningSettings, sampler: Sampler) -> None:
        if not isinstance(method, AR2):
            raise ConfigError("ar2 learns nothing beside; leave out masked and next_word")
        if settings.refresh is None or settings.refresh < 2 or settings.refresh_from:
            raise ConfigError(
                "ar2 mines from the first update on, and both learn between two minings; set refresh=400, say, the "
                "updates between them, 2 or more, and leave out refresh_from"
            )
        super().__init__(run, method, pairs, settings)
        self.ar2, self.sampler = method, sampler
        self.judge_steps = min(max(1, round(method.options.judge_share * self.every)), self.every - 1)
        self.total = TrainingSettings(**run.config["training"]).total_steps(sampler.steps_per_epoch)
        self.source.targets = np.full((len(self.source), 1 + settings.negatives), np.nan, dtype=np.float32)
        self._course: Course | None = None

    def due(self, step: int) -> bool:
        """Whether a turn begins with this update, from 0."""
        return step % self.every in (0, self.judge_steps)

    def __call__(self, step: int) -> dict[str, float]:
        """Begin a turn: mine for the judge, or have it score for the retriever.

        Returns:
            Of a mining what `Renewal` says, before the first one with the figures of `Course`. Of scores how many,
            and the share of anchors whose partner the judge puts before all that was mined for it.
        """
        judging = step % self.every == 0
        found = super().__call__(step) if judging else self._taught(step)
        if step == 0:
            found |= self.watch()()
        self.turns.judging = judging
        self.ar2.judging.fill_(judging)
        return found

    def watch(self) -> Course:
        """What looks at both after each round."""
        if self._course is None:
            self._course = Course(self)
        return self._course

    def scores(self, anchors: Sequence[str], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """(B, K) scores by the judge as it is of the candidates of anchors, in K columns; NaN where there is none."""
        there = np.array([[bool(text) for text in column] for column in candidates]).T
        lines, places = np.nonzero(there)
        asked = zip(lines.tolist(), places.tolist(), strict=True)
        pairs = [(anchors[line], candidates[place][line]) for line, place in asked]
        scores = np.full(there.shape, np.nan)
        with preserved():
            scores[lines, places] = self.ar2.ranker.scored(self.turns.joint, pairs)
        return scores

    def _taught(self, step: int) -> dict[str, float]:
        last = min(step - self.judge_steps + self.every, self.total)
        rows = np.unique(np.concatenate([self.sampler.batch(number) for number in range(step, last)]))
        anchors, *candidates = self.source.every(rows).columns
        scores = self.scores(anchors, candidates)
        self.source.targets[:] = np.nan
        self.source.targets[rows] = scores
        known = ~np.isnan(scores[:, 1:]).all(axis=1)
        best = np.nan_to_num(scores[known, 1:], nan=-np.inf).max(axis=1, initial=-np.inf)
        right = float((scores[known, 0] > best).mean()) if known.any() else 0.0
        return {"judged": int((~np.isnan(scores)).sum()), "judge_accuracy": right}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: whose turn it is, the negatives, and the judge's scores."""
        scores = torch.from_numpy(self.source.targets.copy())
        return super().state() | {"judging": self.turns.judging, "scores": scores}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state(state)
        self.turns.judging = bool(state["judging"])
        self.source.targets[:] = state["scores"].cpu().numpy()


class Course:
    """How retriever and judge do, after each round: on queries of a collection that are held out, else on its own.

    Of up to 300 queries, those of the split dev where there is one. All documents are searched; the judge gets the
    partner and as many others as are mined for an anchor, the nearest ones. What it sees is thus as hard as the
    retriever makes it.
    """

    def __init__(self, turns: Alternation) -> None:
        self.turns, self.every = turns, turns.every
        source = turns.source
        self.texts: list[str] = list(source.documents.columns["document"])
        run = turns.run
        held = next((part for part in HELD if part in run.config["source"].get("splits", ())), None)
        found = None if held is None else run.modality.collection(Path(run.config["data"]), run.options, held)
        if found is None:
            self.queries, pairs = source.queries, source.near
        else:
            self.queries = found.queries
            place = {text: row for row, text in enumerate(self.texts)}
            sought = found.documents.columns["document"]  # type: ignore[attr-defined]
            relevant = found.grades > 0
            rows = [place[sought[row]] for row in found.document_rows[relevant]]
            pairs = np.stack([found.query_rows[relevant], np.array(rows)], axis=1)
        asked = np.unique(pairs[:, 0])
        asked = np.sort(np.random.default_rng(0).permutation(asked)[:LOOKED])
        pairs = pairs[np.isin(pairs[:, 0], asked)]
        self.queries = self.queries.select(asked)
        pairs = np.stack([np.searchsorted(asked, pairs[:, 0]), pairs[:, 1]], axis=1)
        self.near = Near(pairs, len(asked), len(self.texts)).of(np.arange(len(asked)))

    def __call__(self) -> dict[str, float]:
        """Look now.

        Returns:
            `recall@5` of the retriever; `judge_accuracy`, the share of queries whose partner the judge puts before all
            others; `hard_mass`, the share of what it puts before the partner in the retriever's weight of the others.
        """
        turns, count = self.turns, self.turns.settings.negatives
        with preserved():
            queries, documents = (
                turns.run.vectors_of(turns.ar2, side, progress=False) for side in (self.queries, turns.source.documents)
            )
        exact, rows = Exact(queries, documents), np.arange(len(self.queries))
        found = exact.find(rows, min(len(documents), max(5, count + self.near.shape[1]))).index
        own = [set(line[line != NOBODY].tolist()) for line in self.near]
        top = [set(line[:5].tolist()) for line in found]
        recall = np.mean([len(mine & five) / len(mine) for mine, five in zip(own, top, strict=True)])
        lists = np.full((len(rows), 1 + count), NOBODY)
        for row, (line, mine) in enumerate(zip(found.tolist(), own, strict=True)):
            others = [document for document in line if document not in mine][:count]
            lists[row, : 1 + len(others)] = [self.near[row, 0], *others]
        there = lists != NOBODY
        asked = list(next(iter(self.queries.columns.values())))
        chosen = [[self.texts[row] if row != NOBODY else "" for row in column] for column in lists.T.tolist()]
        judged = turns.scores(asked, chosen)
        cosines = np.where(there, exact.score(rows, lists), -np.inf) / turns.ar2.options.temperature
        weight = np.exp(cosines - cosines.max(axis=1, keepdims=True))[:, 1:]
        before = judged[:, 1:] > judged[:, :1]  # False where there is none
        hard = (weight * before).sum(axis=1) / weight.sum(axis=1).clip(1e-30)
        right = ~(np.nan_to_num(judged[:, 1:], nan=-np.inf) >= judged[:, :1]).any(axis=1)
        return {"recall@5": float(recall), "judge_accuracy": float(right.mean()), "hard_mass": float(hard.mean())}
