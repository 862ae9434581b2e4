"""The cases of the contract battery: every entry of the catalogue with its notable variants and their oracles.

Those of the first families are here, with their oracles in `oracles_pairs.py` and `oracles_views.py` and their values
in `golden.py`; each later family is a file of its own in `judges/`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import judges
import oracles_pairs as o
import oracles_views as v
from case import Case, learned, rows
from golden import CHANCE, COLLAPSED, GOLDEN
from oracles import cosine, dot, minus_distance, minus_square, shortened_dot

from nearfar.contrast import Strategy
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

__all__ = ["BY_NAME", "CASES", "EVERY", "Case", "learned", "rows", "strategies", "tiled"]

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
    Case("NPair l2", lambda: NPair(l2=0.1), "cross", o.npair(0.1), dot, listed=True),
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

# Every family of `judges/` brings its own cases, oracles and values.
FAMILIES = [import_module(f"judges.{m.name}") for m in pkgutil.iter_modules(judges.__path__)]
for family in FAMILIES:
    CASES += family.CASES
    GOLDEN.update(family.GOLDEN)
    CHANCE.update(family.CHANCE)
    COLLAPSED.update({**family.CHANCE, **family.COLLAPSED})

# The battery is parametrised over the catalogue; `test_battery.py` fails by name for an entry without a case.
EVERY = [case for name in catalogue() for case in CASES if case.entry == name]
BY_NAME = {c.name: c for c in CASES}

# The reference, tiles computed twice, and tiles whose scores wait for the backward pass (small batches by default).
DENSE, TILED, KEPT = Strategy("dense"), Strategy("tiled", tile=3), Strategy("auto", tile=3)


def tiled(side: int) -> Strategy:
    return Strategy("tiled", tile=side)


def strategies(case: Case) -> list[dict]:
    """Keyword arguments for every way to visit the scores; moments visit none."""
    return [{"strategy": s} for s in (DENSE, TILED, KEPT)] if case.swept else [{}]
