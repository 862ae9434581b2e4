"""Which given pairs a search finds again: of noisy pairs the others are better left out."""

from __future__ import annotations

import numpy as np

from nearfar.errors import ConfigError

from .found import Miner
from .near import Near


def consistent(near: Near, miner: Miner, first: int = 2, block: int = 1024) -> Near:
    """The known positives before which fewer than `first` other documents are found for their query.

    Positives of the same query do not count against each other. Take an encoder that has learned from the pairs
    already, or one that was trained elsewhere.

    Args:
        near: the pairs. miner: searches their queries in their documents.
        first: 2 in the paper, among a million documents.

    Raises:
        ConfigError: `first` is below 1.

    Source: Wang et al. 2022, Text Embeddings by Weakly-Supervised Contrastive Pre-training (E5), section 3.1.

    Example:
        >>> from nearfar.mining import Exact
        >>> corpus = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> near = Near([(0, 0), (1, 2)], queries=2, documents=3)
        >>> consistent(near, Exact(np.array([[1.0, 0.1], [1.0, 0.1]]), corpus), first=1).pairs.tolist()
        [[0, 0]]
    """
    if first < 1:
        raise ConfigError(f"first = {first}: a pair is found among the first 1 or more")
    kept = []
    asking = np.unique(near.pairs[:, 0])
    for start in range(0, len(asking), block):
        rows = asking[start : start + block]
        depth = min(near.documents, first + near.of(rows).shape[1])
        index = miner.find(rows, depth).index
        queries = np.broadcast_to(rows[:, None], index.shape)
        known = near.has(queries, index)
        found = known & (np.cumsum(~known & (index >= 0), axis=1) < first)
        kept.append(np.stack([queries[found], index[found]], axis=1))
    return Near(np.concatenate(kept) if kept else [], near.queries, near.documents)
