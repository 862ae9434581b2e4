"""Where vectors come from: which weights made them, and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from nearfar.errors import ConfigError, DataError
from nearfar.version import VERSION


@dataclass(frozen=True)
class Provenance:
    """The origin of all vectors of a store.

    Attributes:
        weights: SHA-256 of the encoder's weights (`nearfar.models.digest`); "" for vectors from elsewhere.
        encoder: its name, such as "minilm".
        modality: what kind of data it takes.
        run: the run folder; "" where there is none.
        config: the configuration of the run, from which the encoder is built again.
        nearfar: the version that made the store.

    >>> Provenance("ab12", "small", "images").sentence()
    'the encoder small on images (weights ab12)'
    """

    weights: str = ""
    encoder: str = ""
    modality: str = ""
    run: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    nearfar: str = VERSION

    @property
    def config_hash(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    def sentence(self) -> str:
        """What made the vectors, for people."""
        if not self.weights:
            return f"vectors of {self.encoder}" if self.encoder else "vectors from elsewhere"
        return f"the encoder {self.encoder} on {self.modality} (weights {self.weights[:12]})"

    def require(self, other: Provenance, where: str) -> None:
        """Refuse vectors of another origin.

        Raises:
            ConfigError: other weights, or another encoder where weights are unknown.
        """
        same = (self.weights, self.modality) == (other.weights, other.modality)
        if same and (self.weights or self.encoder == other.encoder):
            return
        raise ConfigError(
            f"{where} holds {_of(self)}, and these are {_of(other)}: vectors of two models cannot be compared. "
            "Choose another store, or embed all of the data again into a new one"
        )

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Provenance:
        """Read what `to_json` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise DataError(f"{where} is damaged: its origin cannot be read; restore it from a copy") from None


def _of(origin: Provenance) -> str:
    said = origin.sentence()
    return said if said.startswith("vectors") else f"vectors of {said}"
