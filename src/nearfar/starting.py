"""What an encoder starts from: random weights, given ones, or the encoder of an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .modalities import Modality
from .models.digest import digest

CONFIG = "config.yaml"
FINE_TUNING = {"lr": 1e-4, "layer_decay": 0.75, "warmup": 0.2}  # for settings that nobody set, see docs/pretrained.md
KEPT = "encoder"  # folder of a run with what its encoder needs beside weights


def is_run(name: str | Path) -> bool:
    """Whether this is the folder of a run."""
    return (Path(name).expanduser() / CONFIG).is_file()


def full_name(name: str) -> str:
    """An encoder's name that holds in every folder: a run, a file and a local model by their absolute paths."""
    if is_run(name):
        return str(Path(name).expanduser().resolve())
    net, at, file = name.partition("@")
    if file:
        return f"{net}{at}{Path(file).expanduser().resolve()}"
    library, _, model = name.partition("/")
    folder = Path(model).expanduser()
    return f"hf/{folder.resolve()}" if library == "hf" and folder.is_dir() else name


def build(
    modality: Modality, name: str | None, facts: dict[str, Any], options: Any
) -> tuple[str, nn.Module, dict[str, Any] | None]:
    """The encoder of a full name, the default one for None: that name, the module, and what it starts from.

    The last is None for random weights, else JSON with `sha256` of the weights, `architecture`, the name of the same
    net with random ones, and perhaps `shape`, for which that is built. `options` are those of the modality. The caller
    seeds torch.

    Raises:
        ConfigError: there is no such encoder, or it does not take such rows.
    """
    if name is not None and Path(name).is_absolute():
        return _of_run(modality, Path(name), facts, options)
    full, made = modality.encoder(name, facts, options)
    return full, made, getattr(made, "start", None)


def blank(
    modality: Modality, name: str, start: dict[str, Any] | None, facts: dict[str, Any], options: Any, kept: Path
) -> nn.Module:
    """The encoder that `build` gave, with random weights: for a checkpoint to fill, whatever became of its start.

    `kept` is the folder with what the encoder left there beside its weights (see `Modality.encoder`), if it did.
    """
    if kept.is_dir():
        return modality.encoder(f"kept/{kept}", facts, options)[1]
    if start is None:
        return modality.encoder(name, facts, options)[1]
    return modality.encoder(start["architecture"], {**facts, "shape": start.get("shape", facts["shape"])}, options)[1]


def check_same(name: str, then: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """Raise ConfigError when an encoder is not what a run began with."""
    before, after = (start and start["sha256"] for start in (then, now))
    if before != after:
        raise ConfigError(
            f"the encoder {name!r} is no longer what this run started from: SHA-256 {str(before)[:12]}... then, "
            f"{str(after)[:12]}... now; put those weights back, or start a run in another folder"
        )


@torch.no_grad()
def average(encoder: nn.Module, start: nn.Module, share: float) -> None:
    """Set the weights of an encoder to (1 - share) of its own + share of those it started from.

    Running statistics of norms are averaged too; counters stay. Between 0 and 1 this often keeps what both know.
    Source: Wortsman et al. 2022, Robust Fine-Tuning of Zero-Shot Models (WiSE-FT), section 3.
    """
    theirs = start.state_dict()
    for name, value in encoder.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name].to(value), share)


def _check_kept(modality: Modality, theirs: dict[str, Any], path: Path, options: Any) -> None:
    """Raise ConfigError for a setting that an encoder which was kept would not follow."""
    for key in sorted(modality.encoding):
        asked = getattr(options, key)
        if asked not in (type(options).model_fields[key].default, theirs.get(key)):
            raise ConfigError(
                f"{key} = {asked}: the encoder of {path} was made with {key} = {theirs.get(key)} and stays as it is; "
                "leave that out, or start from the encoder that it was made of"
            )


def _of_run(
    modality: Modality, path: Path, facts: dict[str, Any], options: Any
) -> tuple[str, nn.Module, dict[str, Any]]:
    """The encoder of an earlier run, as its newest checkpoint has it."""
    from .run import Run

    earlier = Run.load(path)
    if earlier.config["modality"] != modality.name:
        raise ConfigError(f"{path} is a run on {earlier.config['modality']}, and these data are {modality.name}")
    theirs, ours = list(earlier.shape), list(facts["shape"])
    if len(theirs) != len(ours) or theirs[:1] != ours[:1]:
        raise ConfigError(
            f"the encoder of {path} takes rows of shape {theirs}, and these data have {ours}; read them as that run "
            "did (for images: --set channels=...)"
        )
    if (earlier.path / KEPT).is_dir():
        _check_kept(modality, earlier.config["options"], path, options)
    trained, before = earlier.method.encoder, earlier.config.get("start")
    start = {
        "sha256": digest(trained.state_dict()),
        "architecture": before["architecture"] if before else earlier.config["encoder"],
        "shape": before.get("shape", theirs) if before else theirs,
    }
    made = blank(modality, str(path), start, facts, options, earlier.path / KEPT)
    try:
        made.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"the encoder of {path} does not take these data: {' '.join(str(error).split())}") from None
    return str(path), made, start
