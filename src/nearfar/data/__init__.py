"""Batches with ids, samplers, splits, and what reading gives."""

from __future__ import annotations

from nearfar.data import bundled
from nearfar.data.batch import Batch
from nearfar.data.clusters import ClusterSampler
from nearfar.data.sampling import BoundSampler, EpochSampler, LabelSampler, one_of_each
from nearfar.data.source import ArraySource, Skipped, Source, require
from nearfar.data.split import few_shot, stratified_split

__all__ = [
    "ArraySource",
    "Batch",
    "BoundSampler",
    "ClusterSampler",
    "EpochSampler",
    "LabelSampler",
    "Skipped",
    "Source",
    "bundled",
    "few_shot",
    "one_of_each",
    "require",
    "stratified_split",
]
