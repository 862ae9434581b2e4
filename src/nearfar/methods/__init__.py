"""Methods: short readable recipes over shared pieces, free of any modality."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .ar2 import AR2
from .around import Around, AroundOptions, innermost
from .barlow import Barlow
from .beclr import BECLR
from .byol import BYOL
from .compcse import CompCSE
from .cpc import CPC
from .denosent import TSDAE, DenoSent
from .densecl import DenseCL
from .diffcse import DiffCSE
from .dino import DINO
from .distil import Distil
from .domains import Across, DomainOptions, across_domains
from .gml import LongTail
from .invp import InvP
from .lmsupcon import LMSupCon
from .method import Contrast, Method, MethodOptions
from .mixed import Mixed, MixingOptions, with_mixtures
from .moco import MoCo
from .nnclr import NNCLR
from .pairs import Pairs
from .pal import PAL
from .pixpro import PixPro
from .pnda import PNDA
from .pretext import Beside, PretextOptions, with_tasks
from .proxy import Proxy
from .ranker import Ranker
from .recipe import AXES, Recipe, recipe_of
from .sepclr import Separated
from .simclr import SimCLR
from .simcse import SimCSE
from .simcse_settings import DCLR, ClusterNS, ESimCSE, GSInfoNCE
from .simsiam import SimSiam
from .supclseq import SupCLSeq
from .supcon import SupCon
from .swav import SwAV
from .tension import Tension
from .triplet import Triplet
from .vicreg import VICReg
from .whitenedcse import WhitenedCSE
from .wmse import WMSE

_METHODS: tuple[type[Method], ...] = (
    SimCLR,
    SupCon,
    MoCo,
    NNCLR,
    InvP,
    PNDA,
    PAL,
    BYOL,
    BECLR,
    SimSiam,
    Barlow,
    VICReg,
    WMSE,
    SwAV,
    DINO,
    Triplet,
    Proxy,
    LongTail,
    Separated,
    DenseCL,
    PixPro,
    Pairs,
    SimCSE,
    ESimCSE,
    GSInfoNCE,
    DCLR,
    ClusterNS,
    WhitenedCSE,
    CompCSE,
    SupCLSeq,
    LMSupCon,
    Tension,
    DiffCSE,
    DenoSent,
    TSDAE,
    CPC,
    Distil,
    Ranker,
    AR2,
)


def catalogue() -> dict[str, type[Method]]:
    """Every method by name.

    >>> list(catalogue())[:4]
    ['simclr', 'supcon', 'moco', 'nnclr']
    """
    return {m.name: m for m in _METHODS}


AROUND: dict[str, type[AroundOptions]] = {
    "pretext": PretextOptions,
    "domains": DomainOptions,
    "mixing": MixingOptions,
}
"""Settings of what can stand around any method, by the group of a run's configuration that they are in."""


def around(method: Method, settings: Mapping[str, Any]) -> Method:
    """The method with what such settings ask for around it; the method itself where they ask for nothing.

    Raises:
        ConfigError: they do not go together, or not with the method.
    """
    domains, mixing = DomainOptions(**settings.get("domains", {})), MixingOptions(**settings.get("mixing", {}))
    if domains.penalty and mixing.asked:
        raise ConfigError("penalty compares domains, and a mixture of two items has none; leave out penalty or mixing")
    method = with_tasks(method, PretextOptions(**settings.get("pretext", {})))
    return with_mixtures(across_domains(method, domains), mixing)


def find(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    methods = catalogue()
    if name not in methods:
        close = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"there is no method {name!r}; {hint}there are {', '.join(methods)}")
    return methods[name]


__all__ = [
    "AR2",
    "AROUND",
    "AXES",
    "BECLR",
    "BYOL",
    "CPC",
    "DCLR",
    "DINO",
    "NNCLR",
    "PAL",
    "PNDA",
    "TSDAE",
    "WMSE",
    "Across",
    "Around",
    "AroundOptions",
    "Barlow",
    "Beside",
    "ClusterNS",
    "CompCSE",
    "Contrast",
    "DenoSent",
    "DenseCL",
    "DiffCSE",
    "Distil",
    "DomainOptions",
    "ESimCSE",
    "GSInfoNCE",
    "InvP",
    "LMSupCon",
    "LongTail",
    "Method",
    "MethodOptions",
    "Mixed",
    "MixingOptions",
    "MoCo",
    "Pairs",
    "PixPro",
    "PretextOptions",
    "Proxy",
    "Ranker",
    "Recipe",
    "Separated",
    "SimCLR",
    "SimCSE",
    "SimSiam",
    "SupCLSeq",
    "SupCon",
    "SwAV",
    "Tension",
    "Triplet",
    "VICReg",
    "WhitenedCSE",
    "across_domains",
    "around",
    "catalogue",
    "find",
    "innermost",
    "recipe_of",
    "with_mixtures",
    "with_tasks",
]
