"""Objectives as losses of sentence-transformers: for its trainers, data sets and models, with nothing else changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .contrast import Composition, Objective
from .objectives.graded import GradedPairs
from .objectives.taught import OwnScores
from .training import cached


class SentenceLoss(nn.Module):
    """An objective over the embeddings of columns of texts; see `sentence_transformers_loss`."""

    def __init__(self, model: nn.Module, objective: Objective, micro_batch: int | None, labels_as: str | None) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.micro_batch, self.labels_as = micro_batch, labels_as

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The scalar value of columns of tokens, and of their labels where the objective has a use for them."""
        how = {} if self.labels_as is None or labels is None else {self.labels_as: labels}
        columns = [dict(features) for features in sentence_features]  # models write into what they are given
        if self.micro_batch is None:
            return self._value(*(self._embed(features) for features in columns), **how)
        return cached(self._value, *map(self._tower, columns), micro_batch=self.micro_batch, **how)

    def _embed(self, features: dict[str, Any]) -> Tensor:
        embedding: Tensor = self.model(features)["sentence_embedding"]
        return embedding

    def _tower(self, features: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
        """An encoder, and its rows; what is no tensor is the same for all rows."""
        rows = {name: value for name, value in features.items() if isinstance(value, Tensor) and value.ndim}
        rest = {name: value for name, value in features.items() if name not in rows}
        return lambda part: self._embed({**rest, **part}), rows

    def _value(self, *rows: Tensor, **how: Any) -> Tensor:
        crossing = isinstance(self.objective, Composition) and self.objective.layout == "cross"
        if crossing and len(rows) > 2:
            how["negatives"], rows = torch.cat(rows[2:]), rows[:2]
        value: Tensor = self.objective(*rows, **how)
        return value

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says of the loss."""
        return {"objective": self.objective.config(), "micro_batch": self.micro_batch, "labels_as": self.labels_as}


def sentence_transformers_loss(
    model: nn.Module, objective: Objective, micro_batch: int | None = None, labels_as: str | None = None
) -> SentenceLoss:
    """An objective as a loss for `SentenceTransformerTrainer`, in place of one of its own.

    Columns of texts are the views: anchor, positive, and negatives where there are any. For an objective of anchors and
    candidates (`InfoNCE`) all negatives are further candidates of every anchor. Labels of the data set go to objectives
    that need them: as targets of graded pairs, as scores of a teacher, or as classes; others do not see them.

    Args:
        model: a `SentenceTransformer`, or whatever gives `model(features)["sentence_embedding"]`.
        objective: an entry of the catalogue; `MultipleNegatives()` is the usual choice for pairs and triples.
        micro_batch: texts that are encoded at a time, with the gradients of the whole batch (see `cached`); None for
            all at once. The trainer's batch size says how many texts contrast with each other.
        labels_as: the argument of the objective that labels go to, where the choice above is not meant.

    >>> class Model(torch.nn.Module):
    ...     def forward(self, features):
    ...         return {"sentence_embedding": features["input_ids"].float()}
    >>> loss = sentence_transformers_loss(Model(), nf.objectives.CosineMSE())
    >>> column = {"input_ids": torch.eye(2)}
    >>> float(loss([column, column], torch.tensor([1.0, 0.0])))
    0.5
    """
    if labels_as is None:
        kinds = ((OwnScores, "scores"), (GradedPairs, "targets"))
        found = [name for kind, name in kinds if isinstance(objective, kind)]
        labels_as = found[0] if found else "labels" if objective.supervised else None
    return SentenceLoss(model, objective, micro_batch, labels_as)
