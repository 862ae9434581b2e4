"""How an encoder is named: the architecture, and where its weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import ConfigError

HUB = "hf/"
PRETRAINED, EMPTY = "pretrained", "empty"
FORMS = "NAME (random), NAME:pretrained (published weights), NAME:empty (as published, random), NAME@FILE.safetensors"


@dataclass(frozen=True)
class Named:
    """An encoder's name in its parts.

    Attributes:
        net: the architecture, such as "small" or "timm/resnet18".
        published: built as its weights were published: own beginning, own normalisation of colours.
        pretrained: with the published weights, which may have to be fetched.
        file: a safetensors file with the weights.
    """

    net: str
    published: bool = False
    pretrained: bool = False
    file: Path | None = None

    @property
    def blank(self) -> str:
        """The name of the same net with random weights, for which nothing is fetched or read."""
        return f"{self.net}:{EMPTY}" if self.published else self.net


def parse(name: str) -> Named:
    """Read an encoder's name; models of Hugging Face are pretrained unless they are said to be empty.

    Raises:
        ConfigError: a part is missing, or what stands after the colon is not known.

    >>> parse("timm/resnet18:pretrained").net, parse("small@weights.safetensors").file
    ('timm/resnet18', PosixPath('weights.safetensors'))
    """
    net, at, file = name.partition("@")
    if at:
        if not net or not file or net.endswith(":"):
            raise ConfigError(f"encoder {name!r}: give a net and a file, as in timm/resnet18@weights.safetensors")
        return Named(net, net != "small", False, Path(file).expanduser())
    net, colon, start = name.partition(":")
    if colon and (not net or start not in (PRETRAINED, EMPTY)):
        raise ConfigError(f"no image encoder is called {name!r}; the forms are {FORMS}")
    hub = net.startswith(HUB)
    return Named(net, bool(colon) or hub, start == PRETRAINED or (hub and not colon))
