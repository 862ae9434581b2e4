"""A small generator of pictures: noise in the space of their first principal components.

Of a picture it makes others, the less like it the more noise; of all pictures together it is a kernel density estimate
in that space, from which new ones are drawn.
"""

from __future__ import annotations

import numpy as np


class Components:
    """The first components of some pictures (N, ...) uint8, with the spread of each.

    Args:
        images: what it learns from.
        kept: how many components; what the others hold is lost in what it makes.
    """

    def __init__(self, images: np.ndarray, kept: int) -> None:
        rows = images.reshape(len(images), -1).astype(np.float64)
        self.shape, self.mean = images.shape[1:], rows.mean(0)
        _, values, vectors = np.linalg.svd(rows - self.mean, full_matrices=False)
        self.axes, self.spread = vectors[:kept], values[:kept] / np.sqrt(len(images))

    def made(
        self, images: np.ndarray, noise: np.ndarray | float, rng: np.random.Generator, shift: float = 0.0
    ) -> np.ndarray:
        """One picture of each (B, ...): each component moved by `noise` of its spread at random, and by `shift` of it.

        `noise` is one number, or (B,) one for each picture.
        """
        places = (images.reshape(len(images), -1) - self.mean) @ self.axes.T
        moved = rng.standard_normal(places.shape) * np.reshape(noise, (-1, 1)) + shift
        pixels = self.mean + (places + moved * self.spread) @ self.axes
        return np.asarray(pixels.round().clip(0, 255).astype(np.uint8).reshape(-1, *self.shape))
