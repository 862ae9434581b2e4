"""SupCL-Seq."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import ConfigError
from ..models import dropout_rate
from .compared import Compared, ComparedOptions
from .method import Contrast


class SupCLSeqOptions(ComparedOptions):
    """Options of SupCL-Seq."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch")
    projection: int = Field(0, ge=0, description="width of a two-layer head; no head when 0")
    rates: tuple[float, ...] = Field(
        (0.0, 0.05, 0.2), description="of dropout: each view is encoded with each, beside once with the encoder's own"
    )
    objective: str = Field("SupCon", description="what pulls and pushes: SupCon, Circle, MultiSimilarity, ...")
    temperature: float = Field(0.05, gt=0, description="divides every score")

    def arguments(self) -> dict[str, Any]:
        """See `ComparedOptions`."""
        return {"temperature": self.temperature}


class SupCLSeq(Compared):
    """Labelled items under several rates of dropout: rows of one class are near, rows of other classes far.

    encoder, once with each rate -> supervised contrast over all rows, without a head; a linear probe of the vectors
    (`nearfar evaluate`) is the classifier. The published code multiplies the value by t / 0.07.
    """

    name = "supclseq"
    near = "the items of the same class, under every rate of dropout"
    far = "the items of other classes, under every rate of dropout"
    source = "Sedghamiz et al. 2021, SupCL-Seq; hooman650/SupCL-Seq"
    Options = SupCLSeqOptions

    options: SupCLSeqOptions

    def __init__(self, encoder: nn.Module, options: SupCLSeqOptions) -> None:
        if any(not 0 <= rate < 1 for rate in options.rates):
            raise ConfigError(f"rates of dropout are at least 0 and below 1, got {options.rates}")
        super().__init__(encoder, options)

    def made_head(self) -> nn.Module:
        """None, unless one is asked for."""
        return super().made_head() if self.options.projection else nn.Identity()

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """The rows under the encoder's own dropout, and under each other rate."""
        made = {"projection": self.head(self.encoder(rows))}
        for rate in self.options.rates:
            with dropout_rate(self.encoder, rate):
                made[f"at {rate:g}"] = self.head(self.encoder(rows))
        return made

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """The objective over all views under all rates; rows of one label are near."""
        return super().contrast([rows for view in projections for rows in view.values()], batch)
