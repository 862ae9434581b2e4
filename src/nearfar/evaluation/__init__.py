"""What vectors are worth: probes, neighbours, search, pairs, groups and geometry, every number with an interval.

Works on vectors (N, D), numpy or torch, and integer labels (-1 = unknown); fine-tuning and the dense probe, on an
encoder and what gives its rows. Knows no modality, no run and no file.
"""

from __future__ import annotations

from .anomaly import anomaly_scores, auroc, auroc_quality
from .bootstrap import Difference, bootstrap_mean, paired_difference, seeds_mean
from .cells import CellGeometry, cell_geometry
from .classification import Classification, classify, confusion_matrix
from .clustering import Clustering, clustering
from .comparison import compare_table, sections, to_rows
from .dense import DenseResult, dense_probe
from .diagnostics import anisotropy, hubness, length_bias
from .enrolment import Enrolled, enrol
from .entries import Entries
from .episodes import Episodes, episodes, transported
from .evaluate import ALL_PROBES, MATCH_PROBES, PROBES, VECTOR_PROBES, Evaluation, compare, evaluate_vectors
from .finetune import FinetuneResult, finetune_probe
from .geometry import Geometry, alignment, channel_std, class_cosines, effective_rank, geometry, spectrum, uniformity
from .harms import Encoded, Harms, harms, mean_cosines
from .information import correlated_gaussians, gaussian_information, information
from .maps import feature_map, pixel_map
from .margins import MarginState, margin_state
from .metric import Metric
from .neighbours import Neighbours, knn_predict, nearest
from .pairs import best_threshold, contrast_accuracy, pair_quality, translation_accuracy, triplet_accuracy
from .priors import Priors, priors
from .probes import FewShotResult, ProbeResult, few_shot_probe, linear_probe
from .quality import Quality, compare_quality
from .ranking import Scoring, rank_scores
from .retrieval import Retrieval, retrieval
from .search import reordered_quality, reranking_quality, run_quality, search_quality
from .segmentation import Segmentation, score_masks
from .settings import EvaluationSettings
from .similarity import pair_scores, similarity_quality
from .structure import class_consistency, feature_correlation, orthogonality_gap, sparsity, within_class_collapse

__all__ = [
    "ALL_PROBES",
    "MATCH_PROBES",
    "PROBES",
    "VECTOR_PROBES",
    "CellGeometry",
    "Classification",
    "Clustering",
    "DenseResult",
    "Difference",
    "Encoded",
    "Enrolled",
    "Entries",
    "Episodes",
    "Evaluation",
    "EvaluationSettings",
    "FewShotResult",
    "FinetuneResult",
    "Geometry",
    "Harms",
    "MarginState",
    "Metric",
    "Neighbours",
    "Priors",
    "ProbeResult",
    "Quality",
    "Retrieval",
    "Scoring",
    "Segmentation",
    "alignment",
    "anisotropy",
    "anomaly_scores",
    "auroc",
    "auroc_quality",
    "best_threshold",
    "bootstrap_mean",
    "cell_geometry",
    "channel_std",
    "class_consistency",
    "class_cosines",
    "classify",
    "clustering",
    "compare",
    "compare_quality",
    "compare_table",
    "confusion_matrix",
    "contrast_accuracy",
    "correlated_gaussians",
    "dense_probe",
    "effective_rank",
    "enrol",
    "episodes",
    "evaluate_vectors",
    "feature_correlation",
    "feature_map",
    "few_shot_probe",
    "finetune_probe",
    "gaussian_information",
    "geometry",
    "harms",
    "hubness",
    "information",
    "knn_predict",
    "length_bias",
    "linear_probe",
    "margin_state",
    "mean_cosines",
    "nearest",
    "orthogonality_gap",
    "pair_quality",
    "pair_scores",
    "paired_difference",
    "pixel_map",
    "priors",
    "rank_scores",
    "reordered_quality",
    "reranking_quality",
    "retrieval",
    "run_quality",
    "score_masks",
    "search_quality",
    "sections",
    "seeds_mean",
    "similarity_quality",
    "sparsity",
    "spectrum",
    "to_rows",
    "translation_accuracy",
    "transported",
    "triplet_accuracy",
    "uniformity",
    "within_class_collapse",
]
