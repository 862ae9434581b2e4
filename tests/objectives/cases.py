"""The cases of the contract battery: every entry of the catalogue with its notable variants and their oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import oracles_pairs as o
import oracles_views as v
import torch
from oracles import Arranged, all_scores, cosine, dot, minus_distance, minus_square, shortened_dot
from torch import Tensor

from nearfar.contrast import LearnedTemperature, Strategy
from nearfar.objectives import (
    DCL,
    DCLW,
    WMSE,
    AlignUniform,
    BarlowTwins,
    ContrastiveMargin,
    CosineRegression,
    Debiased,
    HardNegative,
    InfoNCE,
    Logistic,
    NPair,
    NTXent,
    PolyView,
    ProxyAnchor,
    ProxyNCA,
    SelfDistillation,
    SigLIP,
    Spectral,
    SupCon,
    SwappedPrediction,
    SymmetricInfoNCE,
    TripletAll,
    TripletHard,
    TripletSemiHard,
    VICReg,
    catalogue,
)


@dataclass(frozen=True)
class Case:
    """One objective as configured, and what judges it.

    layout: "joint" or "cross" as the published objective has it, "views" for those that compare no pairs.
    score: how the oracle scores two rows; None for "views", whose oracle takes the two matrices.
    constant: something is taken as a constant, which has no numerical gradient: the oracle judges the gradient.
    least: rows that the objective needs, where it compares no pairs.
    in_order: which rows stand next to each other is part of the value.
    """

    name: str
    make: Callable[[], torch.nn.Module]
    layout: str
    oracle: Callable[..., Tensor]
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    softmax: bool = False
    constant: bool = False
    least: int = 2
    in_order: bool = False

    @property
    def entry(self) -> str:
        return self.name.split()[0]

    @property
    def compares(self) -> bool:
        return self.layout != "views"

    def objective(self) -> torch.nn.Module:
        """The objective in float64, learned numbers at exactly their published start."""
        made = self.make().double()
        for module in made.modules():
            if isinstance(module, LearnedTemperature):
                with torch.no_grad():
                    module.log_inverse.copy_(torch.tensor(-math.log(round(float(module()), 6)), dtype=torch.float64))
        return made

    def naive(self, rows: Arranged, objective: torch.nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
        """The oracle's value, and the leaves that stand for the objective's learned numbers."""
        leaves = {k: p.detach().clone().requires_grad_() for k, p in objective.named_parameters()}
        learned_t, learned_b = leaves.get("temperature.log_inverse"), leaves.get("bias.bias")
        t = torch.tensor(1.0 if learned_t is not None else objective.temperature, dtype=torch.float64)
        t = (-learned_t).exp() if learned_t is not None else t
        b = (
            learned_b
            if learned_b is not None
            else torch.tensor(float(getattr(objective, "bias", 0.0)), dtype=torch.float64)
        )
        s = all_scores(self.score, rows.anchors, rows.candidates)
        extra = {"rows": rows} if self.name == "NPair l2" else {}
        return self.oracle(s, rows.near, rows.far, t, b, **extra), leaves


def learned(value: float) -> LearnedTemperature:
    return LearnedTemperature(value)


CASES = [
    Case("ContrastiveMargin", ContrastiveMargin, "joint", o.margin_violations(1.0, 0.0), minus_distance),
    Case(
        "ContrastiveMargin pairs",
        lambda: ContrastiveMargin(average="pairs"),
        "joint",
        o.margin_pairs(1.0),
        minus_distance,
    ),
    Case("TripletAll", TripletAll, "joint", o.triplet_all(0.2, "violations"), minus_distance),
    Case(
        "TripletAll triplets",
        lambda: TripletAll(average="triplets"),
        "joint",
        o.triplet_all(0.2, "all"),
        minus_distance,
    ),
    Case("TripletAll soft", lambda: TripletAll(soft=True), "joint", o.triplet_soft, minus_distance),
    Case("TripletHard", TripletHard, "joint", o.triplet_hard(0.2), minus_distance),
    Case("TripletHard soft", lambda: TripletHard(soft=True), "joint", o.triplet_hard(None), minus_distance),
    Case("TripletSemiHard", TripletSemiHard, "joint", o.triplet_semihard(0.2), minus_square),
    Case("NPair", NPair, "cross", o.infonce, dot, softmax=True),
    Case("NPair l2", lambda: NPair(l2=0.1), "cross", o.npair(0.1), dot),
    Case("Logistic", Logistic, "cross", o.logistic, cosine),
    Case("SigLIP", SigLIP, "cross", o.logistic, cosine),
    Case("SigLIP fixed", lambda: SigLIP(temperature=0.1, bias=-10.0), "cross", o.logistic, cosine),
    Case("InfoNCE", lambda: InfoNCE(temperature=0.5), "cross", o.infonce, cosine, softmax=True),
    Case(
        "SymmetricInfoNCE",
        lambda: SymmetricInfoNCE(temperature=0.5),
        "cross",
        o.symmetric_infonce,
        cosine,
        softmax=True,
    ),
    Case(
        "SymmetricInfoNCE learned",
        lambda: SymmetricInfoNCE(temperature=learned(0.5)),
        "cross",
        o.symmetric_infonce,
        cosine,
    ),
    Case("NTXent", lambda: NTXent(temperature=0.5), "joint", o.infonce, cosine, softmax=True),
    Case("NTXent learned", lambda: NTXent(temperature=learned(0.5)), "joint", o.infonce, cosine),
    Case("SupCon", lambda: SupCon(temperature=0.5), "joint", o.infonce, cosine, softmax=True),
    Case(
        "SupCon inside",
        lambda: SupCon(temperature=0.5, average="inside"),
        "joint",
        o.supcon_inside,
        cosine,
        softmax=True,
    ),
    Case(
        "SupCon exclusive",
        lambda: SupCon(temperature=0.5, average="exclusive"),
        "joint",
        o.supcon_exclusive,
        cosine,
        softmax=True,
    ),
    Case("PolyView", lambda: PolyView(temperature=0.5), "joint", o.polyview("geometric"), cosine, softmax=True),
    Case(
        "PolyView arithmetic",
        lambda: PolyView(temperature=0.5, average="arithmetic"),
        "joint",
        o.polyview("arithmetic"),
        cosine,
        softmax=True,
    ),
    Case(
        "PolyView sufficient",
        lambda: PolyView(temperature=0.5, average="sufficient"),
        "joint",
        o.polyview("sufficient"),
        cosine,
        softmax=True,
    ),
    Case("DCL", lambda: DCL(temperature=0.5), "joint", o.dcl, cosine, softmax=True),
    Case("DCLW", lambda: DCLW(temperature=0.5), "joint", o.dclw(0.5, False), cosine, softmax=True),
    Case(
        "DCLW detached",
        lambda: DCLW(temperature=0.5, detach=True),
        "joint",
        o.dclw(0.5, True),
        cosine,
        softmax=True,
        constant=True,
    ),
    Case("Debiased", lambda: Debiased(temperature=0.5), "joint", o.debiased(0.1), cosine, softmax=True),
    Case("Debiased tau 0", lambda: Debiased(temperature=0.5, tau=0.0), "joint", o.debiased(0.0), cosine, softmax=True),
    Case("HardNegative", lambda: HardNegative(temperature=0.5), "joint", o.debiased(0.1, 1.0), cosine, softmax=True),
    Case(
        "HardNegative tau 0",
        lambda: HardNegative(temperature=0.5, tau=0.0),
        "joint",
        o.debiased(0.0, 1.0),
        cosine,
        softmax=True,
    ),
    Case("ProxyNCA", ProxyNCA, "cross", o.infonce, minus_square, softmax=True),
    Case("ProxyNCA original", lambda: ProxyNCA(own=False), "cross", o.dcl, minus_square, softmax=True),
    Case("ProxyAnchor", ProxyAnchor, "cross", o.proxy_anchor(0.1), cosine, softmax=True),
    Case("AlignUniform", AlignUniform, "views", v.align_uniform(2, 2, 1, 1)),
    Case("AlignUniform alpha 1", lambda: AlignUniform(alpha=1.0), "views", v.align_uniform(1, 2, 1, 1)),
    Case("Spectral", Spectral, "cross", o.spectral(1.0), shortened_dot(1.0)),
    Case("Spectral mu 3", lambda: Spectral(mu=3.0), "cross", o.spectral(3.0), shortened_dot(3.0)),
    Case("BarlowTwins", BarlowTwins, "views", v.barlow(0.0051, 1.0)),
    Case("BarlowTwins scaled", lambda: BarlowTwins(scale=0.1), "views", v.barlow(0.0051, 0.1)),
    Case("VICReg", VICReg, "views", v.vicreg("official")),
    Case("VICReg paper", lambda: VICReg(form="paper"), "views", v.vicreg("paper")),
    Case("CosineRegression", CosineRegression, "views", v.regression(2, -2, True), constant=True, least=1),
    Case(
        "CosineRegression cosine",
        lambda: CosineRegression(form="cosine"),
        "views",
        v.regression(0, -1, True),
        constant=True,
        least=1,
    ),
    Case(
        "CosineRegression both ways",
        lambda: CosineRegression(detach=False),
        "views",
        v.regression(2, -2, False),
        least=1,
    ),
    Case("WMSE", WMSE, "views", v.wmse(1e-4, None)),
    Case("WMSE blocks", lambda: WMSE(block=2, eps=0.1), "views", v.wmse(0.1, 2), in_order=True),
    Case("SwappedPrediction", SwappedPrediction, "views", v.swapped(0.1, 0.05), constant=True, least=1),
    Case(
        "SwappedPrediction warm",
        lambda: SwappedPrediction(temperature=0.5, epsilon=0.5),
        "views",
        v.swapped(0.5, 0.5),
        constant=True,
        least=1,
    ),
    Case("SelfDistillation", SelfDistillation, "views", v.distilled(0.1, 0.04), constant=True, least=1),
]

# The battery is parametrised over the catalogue; `test_battery.py` fails by name for an entry without a case.
EVERY = [case for name in catalogue() for case in CASES if case.entry == name]
BY_NAME = {c.name: c for c in CASES}

# The reference, tiles computed twice, and tiles whose scores wait for the backward pass (small batches by default).
DENSE, TILED, KEPT = Strategy("dense"), Strategy("tiled", tile=3), Strategy("auto", tile=3)


def tiled(side: int) -> Strategy:
    return Strategy("tiled", tile=side)


def rows(seed: int, n: int, width: int = 3) -> Tensor:
    """Random rows, none of them special."""
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def strategies(case: Case) -> list[dict]:
    """Keyword arguments for every way to visit the scores; moments visit none."""
    swept = case.compares or case.entry == "AlignUniform"
    return [{"strategy": s} for s in (DENSE, TILED, KEPT)] if swept else [{}]
