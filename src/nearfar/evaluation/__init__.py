"""What vectors are worth: probes, neighbours, retrieval and geometry, every number with an interval.

Works on vectors (N, D), numpy or torch, and integer labels (-1 = unknown); knows no modality, no run and no file.
"""

from __future__ import annotations

from .bootstrap import Difference, bootstrap_mean, paired_difference
from .classification import Classification, classify, confusion_matrix
from .comparison import compare_table, to_rows
from .evaluate import PROBES, Evaluation, compare, evaluate_vectors
from .geometry import Geometry, alignment, channel_std, class_cosines, effective_rank, geometry, spectrum, uniformity
from .metric import Metric
from .neighbours import Neighbours, knn_predict, nearest
from .probes import FewShotResult, ProbeResult, few_shot_probe, linear_probe
from .retrieval import Retrieval, retrieval

__all__ = [
    "PROBES",
    "Classification",
    "Difference",
    "Evaluation",
    "FewShotResult",
    "Geometry",
    "Metric",
    "Neighbours",
    "ProbeResult",
    "Retrieval",
    "alignment",
    "bootstrap_mean",
    "channel_std",
    "class_cosines",
    "classify",
    "compare",
    "compare_table",
    "confusion_matrix",
    "effective_rank",
    "evaluate_vectors",
    "few_shot_probe",
    "geometry",
    "knn_predict",
    "linear_probe",
    "nearest",
    "paired_difference",
    "retrieval",
    "spectrum",
    "to_rows",
    "uniformity",
]
