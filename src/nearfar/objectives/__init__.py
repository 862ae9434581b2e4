"""The catalogue of objectives: each published one as a short composition over `nearfar.contrast`, or a road of its
own."""

from __future__ import annotations

from typing import Any

from .. import contrast as _contrast
from ..contrast import LearnedBias, LearnedTemperature, Objective, Strategy
from ..errors import ConfigError
from .adaptive import AdaptiveMargin
from .ahead import candidate_counts, steps_ahead, to_later
from .asymmetric import Asymmetric, to_classes
from .attraction import CACR, ExactCovariance
from .centres import SoftTriple, SubCentreArcFace
from .centroids import DecoupledUniformity
from .conditional import CCLK, GML, by_class_prior, conditioned_on
from .corrections import DCL, DCLW, Debiased, HardNegative
from .discrepancy import CORAL, MMD, EnergyConfusion, split_domains
from .distributions import ICon, nearest_neighbours, perplexity_neighbours
from .energy import KCL
from .episodes import ICNN, NadarayaWatson, ProtoTriplet, class_means
from .gated import GatedPairs, drawn_partners
from .given import MultipleNegatives
from .graded import AnglE, ContrastiveTension, CoSENT, CosineMSE, complex_score, order_loss
from .graphs import GraphSpectral, ends, from_graph
from .hardness import HardestSupCon, HardnessInfoNCE, by_class_pairs
from .hedged import Hedged
from .individual import ISogCLR, SogCLR
from .information import NWJ, DonskerVaradhan, JensenShannon
from .kernels import KernelInfoNCE
from .lists import ListMLE, ListNet
from .manyviews import MultiViewDHEL, MultiViewInfoNCE
from .margins import ArcFace, CosFace, NormalizedSoftmax, SphereFace
from .metric import BoundaryMargin, Circle, GeneralizedLifted, LiftedStructure, MultiSimilarity
from .moments import BarlowTwins, VICReg
from .multihead import AdaptiveMultiHead
from .nested import Matryoshka
from .noise import harder, noise_rows
from .ordering import GroupOrdering
from .pairs import ContrastiveMargin, Logistic, SigLIP
from .places import PixContrast, PixPro, best_matches, cell_centres, to_places
from .polyview import PolyView
from .propagation import propagated
from .prototypes import SelfDistillation, SwappedPrediction
from .proxies import ProxyAnchor, ProxyNCA, to_proxies
from .ranking import Angular, FastAP, RankedList, SmoothAP, TupletMargin
from .regression import CosineRegression
from .rotation import rotation_agnostic, turned_ids, turning_entropy
from .salient import SepCLR
from .selection import TripletBand, TripletEasyHard, sampled_far
from .shifted import MeanShifted
from .softmax import InfoNCE, NPair, NTXent, SupCon, SymmetricInfoNCE
from .sphere import AlignUniform, Spectral
from .targets import ConR, by_targets, confused, mixtures
from .taught import MarginMSE, ScoreDistillation
from .teacher import by_teacher, quality_weights
from .triplets import TripletAll, TripletHard, TripletSemiHard
from .weighting import MACL, EasySupCon, Encouraging, HardContrastive
from .whitening import WMSE

_ENTRIES: tuple[type[Objective], ...] = (
    ContrastiveMargin,
    TripletAll,
    TripletHard,
    TripletSemiHard,
    TripletBand,
    TripletEasyHard,
    LiftedStructure,
    GeneralizedLifted,
    Circle,
    MultiSimilarity,
    BoundaryMargin,
    RankedList,
    FastAP,
    SmoothAP,
    TupletMargin,
    Angular,
    NPair,
    Logistic,
    InfoNCE,
    SymmetricInfoNCE,
    MultipleNegatives,
    NTXent,
    SupCon,
    PolyView,
    KernelInfoNCE,
    AdaptiveMultiHead,
    MultiViewInfoNCE,
    MultiViewDHEL,
    KCL,
    GroupOrdering,
    ICon,
    DCL,
    DCLW,
    Debiased,
    HardNegative,
    HardContrastive,
    HardestSupCon,
    HardnessInfoNCE,
    MeanShifted,
    MACL,
    EasySupCon,
    Encouraging,
    CACR,
    ExactCovariance,
    SogCLR,
    ISogCLR,
    Asymmetric,
    SigLIP,
    ProxyNCA,
    ProxyAnchor,
    NormalizedSoftmax,
    CosFace,
    ArcFace,
    SphereFace,
    SubCentreArcFace,
    SoftTriple,
    CCLK,
    GML,
    AlignUniform,
    DecoupledUniformity,
    SepCLR,
    Spectral,
    GraphSpectral,
    BarlowTwins,
    VICReg,
    Matryoshka,
    CosineRegression,
    CoSENT,
    AnglE,
    CosineMSE,
    ContrastiveTension,
    MarginMSE,
    ScoreDistillation,
    AdaptiveMargin,
    ListMLE,
    ListNet,
    ConR,
    GatedPairs,
    WMSE,
    SwappedPrediction,
    SelfDistillation,
    NWJ,
    DonskerVaradhan,
    JensenShannon,
    ProtoTriplet,
    ICNN,
    NadarayaWatson,
    PixContrast,
    PixPro,
    Hedged,
    EnergyConfusion,
    MMD,
    CORAL,
)


def catalogue() -> dict[str, type[Objective]]:
    """Every objective by name.

    >>> catalogue()["NTXent"](temperature=0.5).temperature
    0.5
    """
    return {e.__name__: e for e in _ENTRIES}


def build(config: dict[str, Any]) -> Objective:
    """Make an objective from what its `config()` said.

    >>> build(SupCon(average="inside").config()).average
    'inside'
    """
    arguments = dict(config)
    name = arguments.pop("objective", None)
    entries = catalogue()
    if name not in entries:
        raise ConfigError(f"there is no objective {name!r}; there are {', '.join(entries)}")
    try:
        return entries[name](**{k: _value(v) for k, v in arguments.items()})
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made from {arguments}: {error}") from error


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return tuple(plain)
    if not isinstance(plain, dict):
        return plain
    if "learned_temperature" in plain:
        return LearnedTemperature(plain["learned_temperature"], plain["low"], plain["high"])
    if "learned_bias" in plain:
        return LearnedBias(plain["learned_bias"])
    if "objective" in plain:
        return build(plain)
    if "strategy" in plain:
        return Strategy(plain["strategy"], plain["tile"], plain["budget"])
    kind = getattr(_contrast, str(plain.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, _contrast.Similarity)):
        raise ConfigError(f"there is no similarity {plain.get('kind')!r}")
    return kind(**{k: v for k, v in plain.items() if k != "kind"})


__all__ = [
    "LearnedBias",
    "LearnedTemperature",
    "best_matches",
    "build",
    "by_class_pairs",
    "by_class_prior",
    "by_targets",
    "by_teacher",
    "candidate_counts",
    "catalogue",
    "cell_centres",
    "class_means",
    "complex_score",
    "conditioned_on",
    "confused",
    "drawn_partners",
    "ends",
    "from_graph",
    "harder",
    "mixtures",
    "nearest_neighbours",
    "noise_rows",
    "order_loss",
    "perplexity_neighbours",
    "propagated",
    "quality_weights",
    "rotation_agnostic",
    "sampled_far",
    "split_domains",
    "steps_ahead",
    "to_classes",
    "to_later",
    "to_places",
    "to_proxies",
    "turned_ids",
    "turning_entropy",
    *catalogue(),
]
