"""Objective: scores + a relation + reductions + a finish, callable, inspectable, printable and frozen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from .arrange import Arrangement
from .blocks import Strategy
from .ranks import together
from .reductions import Mean, Reduction
from .relation import Relation
from .ring import arranged, scored
from .scores import Scores
from .similarity import Constant, Cosine, Similarity
from .temperature import LearnedBias, LearnedTemperature, current

Terms = dict[str, "Tensor | tuple[Tensor, Tensor]"]
Cls = TypeVar("Cls", bound=type)


def entry(cls: Cls) -> Cls:
    """Make a class an entry of the catalogue: its annotated attributes become keyword arguments of the constructor."""
    made: Any = dataclass(eq=False, repr=False, kw_only=True)(cls)
    # A default left on the class would hide a learned temperature, which torch keeps among the sub-modules.
    for f in dataclasses.fields(made):
        if f.name in made.__dict__:
            delattr(made, f.name)
    return cast(Cls, made)


@dataclass(frozen=True)
class Inspection:
    """What an objective says of one batch.

    Attributes:
        total: the scalar that the objective gives.
        terms: named parts, which add up to the total.
        per_anchor: (R,) value of every anchor; their mean weighted by `weight` is the total.
        weight: (R,) how much each anchor counts (0 for one without near candidates, where the objective needs one).
        near_count, far_count: (R,) candidates of either kind; None where the objective compares no pairs.
        masked: pairs that were ignored as duplicates or unknown, not counting a row against itself.
        chance: the value when every pair scores as unrelated rows do; None where that is not defined.
        collapsed: the value when all rows are equal; None where that is not defined.
        near_mean, far_mean: mean similarity of near and of far pairs, before the temperature.
    """

    total: Tensor
    terms: dict[str, Tensor]
    per_anchor: Tensor | None = None
    weight: Tensor | None = None
    near_count: Tensor | None = None
    far_count: Tensor | None = None
    masked: int = 0
    chance: float | None = None
    collapsed: float | None = None
    near_mean: float | None = None
    far_mean: float | None = None


@entry
class Objective(nn.Module):
    """Base of all objectives.

    Call with two or more views, (N, D) each with matching rows; or with all rows in one tensor (R, D) and `ids`,
    `labels` or a `relation` that say which rows belong together. The result is a scalar tensor.

    With the strategy "gathered" or "ring", of the objective or of one call, several processes of torch.distributed
    share the batch: each hands over its own rows, however many (uneven numbers, none), and gets the value of the whole
    batch, whose rows are theirs one after the other in order of rank. Gradients are right once averaged over the
    processes, as DDP and FSDP do. All processes make the call, and the backward pass.

    Args:
        strategy: "auto", "dense", "tiled", "gathered", "ring" or a `Strategy`.
    """

    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""
    equal_to: ClassVar[str] = ""
    use: ClassVar[str] = ""  # when to use it
    near: ClassVar[str] = ""  # who is near by default, where the layout does not say it
    far: ClassVar[str] = ""
    at_chance: ClassVar[str] = ""  # value for two views of N items and default arguments; empty: not defined
    compares: ClassVar[str] = ""  # how rows are compared, where there is no similarity to choose
    cost: ClassVar[str] = ""  # what it takes of N rows of width D, where it compares no pairs
    reconstructed: ClassVar[str] = ""  # what of it no publication at hand could confirm
    supervised: ClassVar[bool] = False

    strategy: str | Strategy = "auto"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Prepare the module before the generated constructor assigns to it."""
        made = super().__new__(cls)
        nn.Module.__init__(made)
        return made

    def forward(self, *views: Any, **how: Any) -> Tensor:
        """The scalar value."""
        raise NotImplementedError

    def inspect(self, *views: Any, **how: Any) -> Inspection:
        """The value with all that explains it."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        fields = getattr(type(self), "__dataclass_fields__", {})
        known = {**self.__dict__, **self.__dict__.get("_modules", {})}
        if name in fields and name in known and value is not known[name]:  # a trainer may set a part again
            raise AttributeError(f"objectives are frozen; make another one: objective.replace({name}=...)")
        super().__setattr__(name, value)

    def chosen(self, strategy: str | Strategy | None = None) -> Strategy:
        """The strategy of a call that asked for this one; the objective's own where it asked for none."""
        return Strategy.of(strategy or self.strategy)

    def together(self, own: Tensor, strategy: str | Strategy | None = None) -> Tensor:
        """Rows, or values of rows, of all processes that share the batch; of this one where the batch is its own.

        An objective that compares no pairs hands what it needs of all rows through this, as early as views (N, D) or
        as late as values (N,), and computes its value from what it gets; gradients follow.
        """
        chosen = self.chosen(strategy)
        return together(own, chosen.group) if chosen.spread else own

    def replace(self, **changes: Any) -> Any:
        """A copy with some arguments changed."""
        return type(self)(**{**self._arguments(), **changes})

    def config(self) -> dict[str, Any]:
        """Name and arguments as plain data; `nearfar.objectives.build` makes the objective again."""
        return {"objective": type(self).__name__, **{k: _plain(v) for k, v in self._arguments().items()}}

    def _arguments(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The arguments, as they are shown wherever the objective is a part of something."""
        return ", ".join(f"{k}={_short(v)}" for k, v in self._arguments().items() if k != "strategy")

    def __repr__(self) -> str:
        lines = [
            f"{type(self).__name__}({self.extra_repr()})",
            f"  {(type(self).__doc__ or '').strip().splitlines()[0]}",
        ]
        lines += [f"  {name:<10} {text}" for name, text in self.pieces().items() if text]
        return "\n".join(lines)

    def pieces(self) -> dict[str, str]:
        """What the objective is made of, for people to read."""
        return {
            "formula": self.formula,
            "source": self.source,
            "equal to": self.equal_to,
            "use when": self.use,
            "unconfirmed": self.reconstructed,
        }


@entry
class Composition(Objective):
    """An objective made of statistics of scores; a subclass only says `per_anchor`.

    Args:
        similarity: how rows are scored.
        temperature: divides every score; a number or a `LearnedTemperature`.
    """

    # "joint": all rows against all rows; "apart": the same, but rows of other items are far within a view alone;
    # "cross": rows of view 1 against rows of view 2
    layout: ClassVar[str] = "joint"
    needs: ClassVar[str] = "near"  # anchors that count have "near" candidates, "both" near and far, or "any" will do

    similarity: Similarity = field(default_factory=Cosine)
    temperature: float | LearnedTemperature = 1.0

    def __post_init__(self) -> None:
        temperature = self.temperature
        if not isinstance(temperature, nn.Module) and not (isinstance(temperature, int | float) and temperature > 0):
            raise ValueError(f"the temperature divides the scores and must be above 0, got {temperature!r}")

    def per_anchor(self, scores: Scores) -> Terms:
        """Named terms, each (R,) values or (values, weights); a term is the weighted mean of its values."""
        raise NotImplementedError

    @property
    def two_way(self) -> bool:
        """True when candidates are anchors too (both directions of a pair of views)."""
        return False

    def forward(
        self,
        *views: Tensor,
        ids: Tensor | None = None,
        labels: Tensor | None = None,
        relation: Relation | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
        weights: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Tensor:
        """The scalar value; arguments as in `inspect`."""
        made = self._arrange(views, ids, labels, relation, negatives, negative_ids, strategy)
        made = self._weighed(made, weights, strategy)
        return torch.stack(list(self._pooled(made, strategy).values())).sum()

    def terms(self, *views: Tensor, strategy: str | Strategy | None = None, **near: Any) -> dict[str, Tensor]:
        """Named scalar parts that add up to the value, with gradients; arguments as in `inspect`."""
        names = ("ids", "labels", "relation", "negatives", "negative_ids")
        given: list[Any] = [*(near.pop(name, None) for name in names), strategy]
        weights = near.pop("weights", None)
        if near:
            raise TypeError(f"{type(self).__name__}.terms takes no {', '.join(near)}")
        return self._pooled(self._weighed(self._arrange(views, *given), weights, strategy), strategy)

    def _pooled(self, made: Arrangement, strategy: str | Strategy | None) -> dict[str, Tensor]:
        with torch.autocast(made.anchors.device.type, enabled=False):
            parts = self._terms(self._scores(made, strategy))
        # A batch without any pair that counts has the value 0, and a gradient of 0 rather than none: training goes on.
        pooled = {name: _pool(values, weights) for name, (values, weights) in parts.items()}
        if any(value.requires_grad for value in pooled.values()):
            return pooled
        nothing = made.anchors[:0].sum() + made.candidates[:0].sum()
        return {name: value + nothing for name, value in pooled.items()}

    def inspect(
        self,
        *views: Tensor,
        ids: Tensor | None = None,
        labels: Tensor | None = None,
        relation: Relation | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
        weights: Tensor | None = None,
        strategy: str | Strategy | None = None,
    ) -> Inspection:
        """The value with its terms, per-anchor values, counts, and what it would be at chance and at collapse.

        Args:
            views: two or more tensors (N, D) whose rows match, or one (R, D).
            ids: (N,) or (R,) which item a row shows; rows of one item are near, or ignored where views are paired.
            labels: (N,) or (R,) classes, near when equal; -1 is unknown and ignored. Where given, ids have no say.
            relation: an explicit relation over view 1 x view 2, or over the rows of a single tensor.
            negatives: (M, D) further candidates, such as a queue; far unless `negative_ids` (M,) say otherwise.
            weights: (N,) or (R,) how much a row counts as an anchor beside the others, >= 0: the value is a weighted
                mean over anchors. What a row says of others as their candidate is left alone.
            strategy: overrides the objective's own. Over several processes all of them make this call, and anchors
                stand in order of rank: those of all views of process 0 first.

        Raises:
            ValueError: rows do not match, or nothing says who is near.
        """
        made = self._arrange(views, ids, labels, relation, negatives, negative_ids, strategy)
        made = self._weighed(made, weights, strategy)
        with torch.autocast(made.anchors.device.type, enabled=False):
            scores = self._scores(made, strategy)
            parts = {
                name: (values, torch.ones_like(values) if weights is None else weights)
                for name, (values, weights) in self._terms(scores).items()
            }
            pooled = {name: _pool(values, weights) for name, (values, weights) in parts.items()}
            per_anchor, weight = _together(parts)
            with torch.no_grad():
                plain = self._scores(made, strategy, temperature=1.0, two_way=False)
                near, far = plain.reduce(Mean("near"), Mean("far"))
                counts, unrelated = plain.counts, self.similarity.unrelated
                chance = None if unrelated is None else self._if_all_score(made, unrelated, strategy)
                equal = self.similarity.equal
                collapsed = None if equal is None else self._if_all_score(made, equal, strategy)
        return Inspection(
            total=torch.stack(list(pooled.values())).sum(),
            terms=pooled,
            per_anchor=per_anchor,
            weight=weight,
            near_count=scores.counts.near.clone(),  # a relation serves many batches; what is handed out is a copy
            far_count=scores.counts.far.clone(),
            masked=int(counts.ignored.sum()),
            chance=chance,
            collapsed=collapsed,
            near_mean=float(_pool(near, counts.near.to(near.dtype))),
            far_mean=float(_pool(far, counts.far.to(far.dtype))),
        )

    def pieces(self) -> dict[str, str]:
        """What the objective is made of; the statistics are those it really asks for, seen on a batch of four rows."""
        z = torch.eye(2, self.similarity.width or 4, device=next((p.device for p in self.parameters()), None))
        asked: list[str] = []

        class Recording(Scores):
            def reduce(self, *reductions: Reduction) -> list[Tensor]:
                asked.extend(f"{type(r).__name__} over {r.over}" for r in reductions)
                return super().reduce(*reductions)

            def rows(self, function: Any, given: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
                asked.append("whole rows")
                return super().rows(function, given)

        with torch.no_grad():
            made = self._arrange((z, z), None, None, None, None, None, "dense")
            temperature = current(self.temperature)
            self._terms(Recording(self.similarity, made.anchors, made.candidates, made.relation, temperature, "dense"))
        rows = {
            "joint": "every row is an anchor, all other rows are its candidates",
            "apart": "every row is an anchor, rows of its item are near, rows of other items far within its view",
            "cross": "rows of view 1 are anchors, rows of view 2 candidates"
            + (", and the reverse" if self.two_way else ""),
        }
        formula = {"formula": self.formula}
        return formula | {
            "similarity": f"{type(self.similarity).__name__}: {self.similarity.formula}",
            "pairs": rows[self.layout],
            "statistics": ", ".join(dict.fromkeys(asked)),
            **super().pieces(),
        }

    def _arrange(
        self,
        views: Any,
        ids: Any,
        labels: Any,
        relation: Any,
        negatives: Any,
        negative_ids: Any,
        strategy: str | Strategy | None = None,
    ) -> Arrangement:
        given = type(self).__name__, self.layout, views, ids, labels, relation, negatives, negative_ids
        return arranged(self.chosen(strategy), *given)

    def _weighed(self, made: Arrangement, weights: Tensor | None, strategy: str | Strategy | None) -> Arrangement:
        """The arrangement with a weight for every anchor, and for every candidate that is one too."""
        if weights is None:
            return made
        n, ends = len(weights), [made.anchors]
        if self.two_way and not (made.relation.symmetric and self.similarity.symmetric):
            ends.append(made.candidates)
        times = len(made.anchors) // max(1, n)
        if weights.ndim != 1 or any(len(rows) != times * n for rows in ends):
            raise ValueError(
                f"{type(self).__name__}: weights must be one per row, got {tuple(weights.shape)} for "
                f"{' and '.join(str(len(rows)) for rows in ends)} anchors"
            )
        if bool((weights < 0).any()):
            raise ValueError(f"{type(self).__name__}: weights must not be below 0, got {float(weights.min()):g}")
        each = self.together(weights.to(made.anchors.dtype).repeat(times), strategy)
        return dataclasses.replace(made, weights=each.detach().repeat(len(ends)))

    def _scores(
        self,
        made: Arrangement,
        strategy: str | Strategy | None,
        similarity: Similarity | None = None,
        temperature: float | None = None,
        two_way: bool | None = None,
    ) -> Scores:
        divisor = current(self.temperature) if temperature is None else temperature
        both = self.two_way if two_way is None else two_way
        scores = scored(similarity or self.similarity, made, divisor, self.chosen(strategy), both)
        scores.weights = made.weights
        return scores

    def _terms(self, scores: Scores) -> dict[str, tuple[Tensor, Tensor | None]]:
        """The terms with a weight for every anchor: 1 where it has what the objective needs; None where all count.

        Weights that were handed over come on top.
        """
        complete = scores.relation.complete
        if not complete or scores.weights is not None:
            near, far = scores.counts.near > 0, scores.counts.far > 0
            valid = {"near": near, "both": near & far, "any": torch.ones_like(near)}[self.needs]
        out: dict[str, tuple[Tensor, Tensor | None]] = {}
        for name, term in self.per_anchor(scores).items():
            if complete and scores.weights is None and not isinstance(term, tuple):
                out[name] = (term, None)
                continue
            values, weights = term if isinstance(term, tuple) else (term, valid.to(term.dtype))
            weights = weights if scores.weights is None else weights * scores.weights
            # An anchor that does not count may hold an infinity; where() keeps it out of the value and of the gradient.
            out[name] = (torch.where(weights > 0, values, 0), weights.detach())
        return out

    def _if_all_score(self, made: Arrangement, value: float, strategy: str | Strategy | None) -> float:
        parts = self._terms(self._scores(made, strategy, Constant(value)))
        return float(sum(_pool(values, weights) for values, weights in parts.values()))


def _pool(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean; 0, with a gradient of 0, when nothing counts."""
    if weights is None:
        return values.mean()
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1)


def _together(parts: dict[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Per-anchor values whose weighted mean is the total, when terms are averaged over different anchors too."""
    every = list(parts.values())
    weight = every[0][1]
    if all(torch.equal(w, weight) for _, w in every):
        return torch.stack([v for v, _ in every]).sum(0).detach(), weight
    n = len(weight)
    shares = [v * w * (n / w.sum()) if float(w.sum()) > 0 else v * 0 for v, w in every]
    return torch.stack(shares).sum(0).detach(), torch.ones_like(weight)


def _short(value: Any) -> str:
    if isinstance(value, nn.Module):
        return f"{type(value).__name__}({value.extra_repr()})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, LearnedTemperature):
        now = min(max(float(value().detach()), value.low), value.high)  # float32 may step over a bound
        return {"learned_temperature": now, "low": value.low, "high": value.high}
    if isinstance(value, LearnedBias):
        return {"learned_bias": value().detach().tolist()}
    if isinstance(value, Objective):
        return value.config()
    if isinstance(value, Strategy):
        return {"strategy": value.kind, "tile": value.tile, "budget": value.budget}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **dataclasses.asdict(value)}
    return list(value) if isinstance(value, tuple) else value  # as it comes back from a file
