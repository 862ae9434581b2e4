"""Views of pictures that have generated ones beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.modalities.images.generated import Linked
from nearfar.modalities.images.views import ImageViews

GENERATED = 1  # the number of the view that shows a generated picture


class ViewsBeside(ImageViews):
    """Views as `ImageViews` makes them, of which the second is cut from a generated picture of the item.

    Of several generated pictures of an item each batch draws one. An item without any gives that view itself. Boxes are
    those in the generated picture, which is taken to show a thing where its item does.

    Args:
        weighed: whether pairs count as much as `Linked.weights` says.
        how: as for `ImageViews`.
    """

    def __init__(self, weighed: bool = False, **how: Any) -> None:
        super().__init__(**how)
        self.weighed = weighed
        self._own = self._some([view for view in range(self.count) if view != GENERATED])
        self._other = self._some([GENERATED])

    def with_weights(
        self, rows: Linked, generator: torch.Generator, part: slice = slice(None)
    ) -> tuple[list[Tensor], list[Tensor] | None, Tensor | None]:
        """Views and boxes as of `with_boxes`, and (B,) float32 how much each item counts.

        Weights are 1 for items without a generated picture; None where all pairs count alike.
        """
        drawn = torch.rand(len(rows), generator=generator, device=generator.device).cpu().numpy()
        there = np.flatnonzero(rows.count > 0)
        chosen = rows.first[there] + (drawn[there] * rows.count[there]).astype(np.int64)
        place, pictures = torch.from_numpy(there), rows.rows.clone()
        pictures[place] = rows.made.rows(chosen)
        views, boxes = self._own.with_boxes(rows.rows, generator, part)
        view, box = self._other.with_boxes(pictures, generator, part)
        views[GENERATED:GENERATED] = view
        if boxes is not None:
            boxes[GENERATED:GENERATED] = box or []
        if not self.weighed or rows.weights is None:
            return views, boxes, None
        weights = torch.ones(len(rows))
        weights[place] = torch.from_numpy(rows.weights[chosen])
        return views, boxes, weights[part]

    def config(self) -> dict[str, Any]:
        """See `ImageViews.config`."""
        return {**super().config(), "weighed": self.weighed}

    def _some(self, which: list[int]) -> ImageViews:
        """Some of the views alone."""
        recipes = [self.recipes[view] for view in which]
        return ImageViews(self.size, self.channels, len(recipes), recipes, self.exact, self.strength)
