"""What a user may set about an evaluation, checked when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from nearfar.settings import Settings

from .ranking import MEASURES

_OF_VECTORS = {
    *("per_class", "draws", "k", "temperature", "strength", "ks", "clusters", "cluster_seeds", "resamples", "seed"),
    *("episode_ways", "episode_shots", "episode_queries", "episode_count"),
}


class EvaluationSettings(Settings):
    """Settings of all probes. ``EvaluationSettings(k=5)``.

    >>> EvaluationSettings(finetune_step=5)
    Traceback (most recent call last):
    nearfar.errors.ConfigError: unknown setting 'finetune_step'; did you mean 'finetune_steps'?
    """

    k: int = Field(20, ge=1, description="neighbours that vote (knn)")
    temperature: float = Field(0.07, gt=0, description="divides similarities before they weigh a vote (knn)")
    strength: float | None = Field(
        None, gt=0, description="C of the logistic regression, chosen by validation when unset (linear, fewshot)"
    )
    per_class: int | Sequence[int] = Field(10, description="labels of each class, one number or several (fewshot)")
    draws: int = Field(5, ge=1, description="draws of the few labels (fewshot)")
    ks: Sequence[int] = Field((1, 5, 10), description="depths of recall and precision (retrieval)")
    clusters: int | None = Field(None, ge=2, description="groups; as many as classes when unset (clustering)")
    cluster_seeds: int = Field(5, ge=1, description="runs of k-means that are averaged (clustering)")
    episode_ways: int = Field(5, ge=2, description="classes of a task (episodes)")
    episode_shots: int | Sequence[int] = Field(
        (1, 5), description="labelled rows of each class of a task, one number or several (episodes)"
    )
    episode_queries: int = Field(15, ge=1, description="rows of each class that a task asks about (episodes)")
    episode_count: int = Field(600, ge=1, description="tasks that are drawn (episodes)")
    measures: Sequence[str] = Field(MEASURES, description="figures of ranked lists (search)")
    rerank_depth: int = Field(100, ge=1, description="documents of each query that a re-ranker puts in order (search)")
    finetune_steps: int = Field(300, ge=1, description="updates (finetune)")
    finetune_lr: float = Field(1e-3, gt=0, description="highest learning rate (finetune)")
    finetune_batch_size: int = Field(64, ge=2, description="rows of an update (finetune)")
    finetune_weight_decay: float = Field(1e-2, ge=0, description="decay of matrices and filters (finetune)")
    finetune_view_share: float = Field(
        0.5, ge=0, le=1, description="how often a random view is learnt from in place of the plain row (finetune)"
    )
    finetune_per_class: int | None = Field(None, ge=1, description="labels of each class; all when unset (finetune)")
    finetune_draws: int | None = Field(
        None, ge=1, description="trainings that are averaged; 1 with all labels, else 3 when unset (finetune)"
    )
    dense_cells: int = Field(20_000, ge=1, description="cells of feature maps that are fitted at most (dense)")
    dense_strength: float | None = Field(
        None, gt=0, description="C of the logistic regression, chosen by validation when unset (dense)"
    )
    resamples: int = Field(1000, ge=1, description="of the bootstrap behind every interval")
    seed: int = Field(0, ge=0, description="of splits, draws, training and resamples")

    def of_vectors(self) -> dict[str, Any]:
        """Arguments of `evaluate_vectors`."""
        return self.model_dump(include=_OF_VECTORS)

    def of_finetune(self) -> dict[str, Any]:
        """Arguments of `finetune_probe`."""
        given = {
            key.removeprefix("finetune_"): value
            for key, value in self.model_dump().items()
            if key.startswith("finetune_")
        }
        given["draws"] = self.finetune_draws or (1 if self.finetune_per_class is None else 3)
        return {**given, "resamples": self.resamples, "seed": self.seed}

    def of_dense(self) -> dict[str, Any]:
        """Arguments of `dense_probe`."""
        return {
            "cells": self.dense_cells,
            "strength": self.dense_strength,
            "resamples": self.resamples,
            "seed": self.seed,
        }
