"""Settings: what a user may set, checked when it is read; the base of every group of them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError


class Settings(BaseModel):
    """Base of settings: frozen, and every mistake is a ConfigError that names the key and what is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError("; ".join(self._explain(item) for item in error.errors())) from None

    @classmethod
    def among(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Those settings that this group knows."""
        return {key: value for key, value in settings.items() if key in cls.model_fields}

    @classmethod
    def _explain(cls, item: Any) -> str:
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(key, cls.model_fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(cls.model_fields))}"
            return f"unknown setting {key!r}; {hint}"
        inner = item.get("ctx", {}).get("error")
        if key and isinstance(inner, ConfigError):
            return f"{key}: {inner}"  # of nested settings, which have explained themselves
        message = item["msg"].removeprefix("Value error, ")
        return f"setting {key!r} = {item['input']!r}: {message}" if key else message


def sort_settings(
    settings: dict[str, Any], *kinds: type[Settings], elsewhere: Mapping[str, str] | None = None
) -> list[Any]:
    """Deal settings to the groups that know them; `elsewhere` has hints for names that belong to other groups.

    Raises:
        ConfigError: nobody knows one; the message names the closest there is.
    """
    known = {name for kind in kinds for name in kind.model_fields}
    for name in settings:
        if name not in known:
            if elsewhere and name in elsewhere:
                raise ConfigError(f"unknown setting {name!r}: {elsewhere[name]}")
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
            raise ConfigError(f"unknown setting {name!r}; {hint}")
    return [kind(**kind.among(settings)) for kind in kinds]
