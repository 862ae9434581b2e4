"""Batches with ids, samplers, splits, and what reading gives."""

from __future__ import annotations

from nearfar.data import bundled
from nearfar.data.batch import Batch
from nearfar.data.sampling import EpochSampler, LabelSampler
from nearfar.data.source import ArraySource, Skipped, Source, require
from nearfar.data.split import few_shot, stratified_split

__all__ = [
    "ArraySource",
    "Batch",
    "EpochSampler",
    "LabelSampler",
    "Skipped",
    "Source",
    "bundled",
    "few_shot",
    "require",
    "stratified_split",
]
