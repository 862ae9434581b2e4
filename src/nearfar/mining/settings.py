"""What a user may set about mining while a model is trained, and about batches of hard items."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nearfar.errors import ConfigError
from nearfar.settings import Settings

from .filters import Ceiling, Filter, Margin, Percentage, Ranks
from .samplers import Bins, Gumbel, Random, SimANS, Top

DRAWN = {kind.name: kind for kind in (Top, Random, SimANS, Gumbel, Bins)}


class MiningSettings(Settings):
    """How negatives and batches follow a model that learns. Without any of it batches are random, negatives given.

    >>> MiningSettings(refresh=200, negatives=2).mines
    True
    """

    refresh: int | None = Field(None, ge=1, description="updates after which the model mines negatives anew (ANCE)")
    refresh_from: int = Field(0, ge=0, description="updates before the first mining; given negatives serve until then")
    refresh_parts: int = Field(1, ge=1, description="parts of the queries, of which each mining takes the next one")
    replace_every: int | None = Field(
        None, ge=1, description="updates after which mined negatives that are no longer hard are replaced (Conan)"
    )
    replace_ratio: float = Field(1.15, ge=1, description="their mean score times this is below what it was at first")
    replace_below: float = Field(0.8, gt=0, description="and the mean score itself below this")
    replace_skip: int = Field(10, ge=0, description="hardest candidates that no later negatives are taken from")
    negatives: int = Field(1, ge=1, description="mined for each anchor")
    depth: int = Field(100, ge=1, description="nearest documents that negatives are chosen from")
    percentage: float = Field(
        0.95, ge=0, le=1, description="of the positive's score, above which is no negative; 0: off"
    )
    mining_margin: float | None = Field(None, description="below the positive's score that a negative keeps")
    ceiling: float | None = Field(None, description="score from which on is no negative")
    first_rank: int = Field(1, ge=1, description="the hardest, up to here, are left out")
    draw: Literal["top", "random", "simans", "gumbel", "bins"] = Field("top", description="how negatives are drawn")
    draw_options: dict[str, float] = Field({}, description="of that: within, sharpness, below, temperature, bins")
    batches: Literal["random", "clusters", "communities"] = Field(
        "random",
        description="what stands together in a batch: clusters of the first texts, or what ranks each other high",
    )
    clusters: int | None = Field(None, ge=1, description="how many; of four batches each when unset")
    clusters_per_batch: int = Field(1, ge=1, description="clusters or communities that share a batch")
    rank_skip: int = Field(30, ge=0, description="communities: best ranks that tie nothing, as likely false negatives")
    rank_keep: int = Field(100, ge=1, description="communities: ranks behind them that do")

    @model_validator(mode="after")
    def _fits(self) -> MiningSettings:
        given = self.model_fields_set
        if not self.mines and (left := sorted(given & OF_REFRESH)):
            raise ConfigError(
                f"{left[0]} is of negatives that are mined anew; set refresh, the updates between two minings"
            )
        if self.replace_every is None and (left := sorted(given & OF_REPLACEMENT)):
            raise ConfigError(
                f"{left[0]} is of negatives that are replaced; set replace_every, the updates between two looks at them"
            )
        if self.replace_every is not None and self.refresh is not None:
            raise ConfigError("refresh mines all negatives again, replace_every replaces some; set one of them")
        if self.replace_every is not None and (left := sorted(given & {"draw", "draw_options", "refresh_parts"})):
            raise ConfigError(f"replace_every looks at all queries, hardest first; leave out {left[0]}")
        if self.batches == "random" and (left := sorted(given & _OF_BATCHES)):
            raise ConfigError(f"{left[0]} is of batches of hard items; set batches to clusters or communities")
        if self.depth < self.negatives:
            raise ConfigError(f"depth = {self.depth} is less than negatives = {self.negatives}; raise depth")
        self.sampler()
        return self

    @property
    def mines(self) -> bool:
        """Whether negatives are mined by the model that learns."""
        return self.refresh is not None or self.replace_every is not None

    def given(self) -> dict[str, Any]:
        """What was set, as plain values."""
        return self.model_dump(exclude_defaults=True)

    def sampler(self) -> Any:
        """What draws negatives.

        Raises:
            ConfigError: an option that this way of drawing does not have.
        """
        options: dict[str, Any] = {
            key: int(v) if key in ("within", "bins") else v for key, v in self.draw_options.items()
        }
        try:
            return DRAWN[self.draw](**options)
        except TypeError:
            raise ConfigError(
                f"draw = {self.draw!r} has no option among {', '.join(options)}; see docs/mining.md"
            ) from None

    def filters(self) -> list[Filter]:
        """What must not be a negative, by scores and ranks."""
        found: list[Filter] = []
        if self.mining_margin is not None:
            found.append(Margin(self.mining_margin))
        if self.percentage:
            found.append(Percentage(self.percentage))
        if self.ceiling is not None:
            found.append(Ceiling(self.ceiling))
        if self.first_rank > 1:
            found.append(Ranks(self.first_rank))
        return found


OF_REFRESH = {
    *("refresh_from", "refresh_parts", "negatives", "depth", "percentage", "mining_margin", "ceiling", "first_rank"),
    *("draw", "draw_options"),
}
OF_REPLACEMENT = {"replace_ratio", "replace_below", "replace_skip"}
_OF_BATCHES = {"clusters", "clusters_per_batch", "rank_skip", "rank_keep"}
