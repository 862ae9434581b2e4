"""Hard negatives from a corpus: a miner finds candidates, filters take out what may be near, a sampler chooses.

    vectors = open_vectors("corpus.npy")                            # stays on disk
    miner = Exact(queries, vectors)
    mining = Mining(miner, Near(pairs, len(queries), len(vectors)), filters=[Percentage(0.95)], negatives=5)
    mined = mining.run()

It sees arrays and row numbers; texts only where words are compared.
"""

from __future__ import annotations

from .approximate import Approximate
from .audit import false_negatives, groups
from .bands import RankBand, rank_triplets
from .consistency import consistent
from .exact import Exact
from .filters import Ceiling, Margin, PairScorer, Percentage, Positives, Ranks, SameId, SameText
from .found import Found
from .grouping import clusters, communities, mutual_ranks
from .job import Report, mine_into
from .lexical import BM25
from .mining import Mined, Mining
from .near import Near, text_keys
from .propensity import Propensity, propensity_triplets, propensity_weights
from .refresh import Refresh, Replacement, overlap
from .samplers import Bins, Gumbel, Mixture, Random, SimANS, Top
from .union import Union
from .vectors import open_vectors

__all__ = [
    "BM25",
    "Approximate",
    "Bins",
    "Ceiling",
    "Exact",
    "Found",
    "Gumbel",
    "Margin",
    "Mined",
    "Mining",
    "Mixture",
    "Near",
    "PairScorer",
    "Percentage",
    "Positives",
    "Propensity",
    "Random",
    "RankBand",
    "Ranks",
    "Refresh",
    "Replacement",
    "Report",
    "SameId",
    "SameText",
    "SimANS",
    "Top",
    "Union",
    "clusters",
    "communities",
    "consistent",
    "false_negatives",
    "groups",
    "mine_into",
    "mutual_ranks",
    "open_vectors",
    "overlap",
    "propensity_triplets",
    "propensity_weights",
    "rank_triplets",
    "text_keys",
]
