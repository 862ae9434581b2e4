"""Published additions to SimCSE: each is SimCSE with some options set, which can be set together as well."""

from __future__ import annotations

from pydantic import Field

from .method import MethodOptions
from .simcse import SimCSE, SimCSEOptions


class ESimCSEOptions(SimCSEOptions):
    """Options of ESimCSE."""

    queue: int = Field(160, ge=0, description="earlier rows, by a slow copy without dropout, that are far too")


class ESimCSE(SimCSE):
    """SimCSE with a short queue of earlier rows by a slow copy; its views repeat some words (`recipe=esimcse`).

    The copy sees no dropout, and its rows join the queue after the step. Without the queue, and with the same views, it
    is SimCSE.
    """

    name = "esimcse"
    near = "another view of the same item: for texts, one with repeated words"
    far = "the second views of the other items in the batch, and some of earlier batches"
    source = "Wu et al. 2022, ESimCSE; caskcsg/sentemb"
    Options = ESimCSEOptions


class GSInfoNCEOptions(SimCSEOptions):
    """Options of GS-InfoNCE."""

    noise: int = Field(192, ge=0, description="random rows that are far too")


class GSInfoNCE(SimCSE):
    """SimCSE with random rows that are far from all, which fill the space where no data lie.

    Rows of a normal distribution in all directions; their length has no say in a cosine. Without them it is SimCSE.
    """

    name = "gsinfonce"
    far = "the second views of the other items in the batch, and random rows"
    source = "Wu et al. 2022, Smoothed Contrastive Learning for Unsupervised Sentence Embedding; caskcsg/sentemb"
    Options = GSInfoNCEOptions


class DCLROptions(SimCSEOptions):
    """Options of DCLR."""

    noise_share: float = Field(
        1.0, ge=0, description="random rows that are far too, as a share of the items of a batch"
    )
    noise_steps: int = Field(4, ge=0, description="steps up the loss by which random rows are made harder")
    guide: float | None = Field(
        0.9, gt=0, description="cosine, by the encoder as it was at the start, from which items are not pushed apart"
    )


class DCLR(SimCSE):
    """SimCSE that does not push apart what its start finds alike, and has random far rows made harder by the loss.

    The opinion is that of a frozen copy of the encoder as it starts, without dropout. Items that it finds alike are
    left out, as the paper says; the published code keeps them with a score of 0, and sums a binary cross-entropy.
    """

    name = "dclr"
    far = "the second views of the items of the batch that a frozen copy finds unlike, and random rows made harder"
    source = "Zhou et al. 2022, Debiased Contrastive Learning of Unsupervised Sentence Representations; RUCAIBox/DCLR"
    Options = DCLROptions


class ClusterNSOptions(SimCSEOptions):
    """Options of ClusterNS."""

    centroids: int = Field(96, ge=0, description="centres of rows, of which the second nearest one is far")
    band_weight: float = Field(
        1e-3, ge=0, description="weight of a band, below the cosine of their own partners, for rows of one centre"
    )

    def for_batch(self, size: int) -> MethodOptions:
        """Half as many centres as a batch has items, where that many would not begin in it and nobody set a number."""
        if "centroids" in self.model_fields_set or size >= self.centroids:
            return self
        return type(self)(**{**self.model_dump(exclude_unset=True), "centroids": max(2, size // 2)})


class ClusterNS(SimCSE):
    """SimCSE with centres of rows: the second nearest one is a hard far row, and rows of one centre stay in a band.

    Centres begin once the mean cosine of a batch has come down to `centroids_from`, with rows of it, and follow their
    rows slowly; before that it is SimCSE. A batch has at least as many rows as there are centres.
    """

    name = "clusterns"
    far = "the second views of the other items in the batch, and the second nearest centre of each"
    source = "Deng et al. 2023, Clustering-Aware Negative Sampling for Unsupervised Sentence Representation"
    Options = ClusterNSOptions
