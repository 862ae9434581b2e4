"""The heart: similarities, relations, reductions and strategies, from which every objective is composed. Needs only
torch."""

from .apart import within_views
from .blocks import Strategy
from .emphasis import Emphasised
from .gaussians import NegativeGaussianKL
from .histogram import Histogram
from .maps import Below, Excess, Hinge, Map, Sigmoid, Softplus
from .measures import NegativeAngle, NegativePoincare, NegativeSNR, Projection
from .objective import Composition, Inspection, Objective, entry
from .pairs import Counts, Pairs, Weights
from .reductions import Count, Joint, LogSumExp, Max, Mean, Min, Reduction, Sum
from .relation import KeyRelation, PairRelation, Relation, WeightRelation, matching, opposite, paired, same_key
from .scores import Scores
from .similarity import Cosine, Dot, NegativeEuclidean, NegativeSquaredEuclidean, ShiftedCosine, Similarity
from .temperature import LearnedBias, LearnedTemperature, current
from .tokens import MaxSim, MutualMaxSim, packed

__all__ = [
    "Below",
    "Composition",
    "Cosine",
    "Count",
    "Counts",
    "Dot",
    "Emphasised",
    "Excess",
    "Hinge",
    "Histogram",
    "Inspection",
    "Joint",
    "KeyRelation",
    "LearnedBias",
    "LearnedTemperature",
    "LogSumExp",
    "Map",
    "Max",
    "MaxSim",
    "Mean",
    "Min",
    "MutualMaxSim",
    "NegativeAngle",
    "NegativeEuclidean",
    "NegativeGaussianKL",
    "NegativePoincare",
    "NegativeSNR",
    "NegativeSquaredEuclidean",
    "Objective",
    "PairRelation",
    "Pairs",
    "Projection",
    "Reduction",
    "Relation",
    "Scores",
    "ShiftedCosine",
    "Sigmoid",
    "Similarity",
    "Softplus",
    "Strategy",
    "Sum",
    "WeightRelation",
    "Weights",
    "current",
    "entry",
    "matching",
    "opposite",
    "packed",
    "paired",
    "same_key",
    "within_views",
]
