"""Settings as people write them: in files and as KEY=VALUE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

_TEXTS = ("data", "out", "method", "encoder", "modality")
_NOT_SETTINGS = ("command", "progress")
_RUN_GROUPS = ("training", "method_options", "options")


def from_file(path: Path | None) -> dict[str, Any]:
    """Settings of a YAML file, or of the config.yaml of a run."""
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a configuration is a list of `setting: value` lines")
    if "format" in settings and all(isinstance(settings.get(group), dict) for group in _RUN_GROUPS):
        groups = [settings[group] for group in _RUN_GROUPS]
        groups += [settings.get(group, {}) for group in ("mining", "pretext", "domains", "mixing")]
        settings = {key: settings.get(key) for key in ("data", "modality", "method", "encoder")}
        for group in groups:
            settings |= group
    return _checked({str(key).replace("-", "_"): value for key, value in settings.items()}, str(path))


def _checked(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Settings that can be passed on to `fit` by name."""
    for key in _NOT_SETTINGS:
        if key in settings:
            raise ConfigError(f"{where}: {key!r} is not a setting; leave it out")
    for key in _TEXTS:
        if not isinstance(settings.get(key), str | None):
            raise ConfigError(f"{where}: {key} is a text, not {settings[key]!r}")
    return {key: value for key, value in settings.items() if key not in _TEXTS or value is not None}


def from_pairs(pairs: list[str]) -> dict[str, Any]:
    """Settings given as KEY=VALUE."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not {pair!r}")
        settings[key.strip().replace("-", "_")] = _number(value)
    return _checked(settings, "--set")


def _number(text: str) -> Any:
    """YAML's reading of a value, which takes 1e-3 for a word."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set cannot read the value {text!r}; write a number, a word, true, false or null"
        ) from None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
