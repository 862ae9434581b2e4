"""Weights from safetensors files: what fits, what is missing, what is left over; and a way there from older files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError, NearfarError

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
_SHOWN = 5
_log = logging.getLogger(__name__)


def load(net: nn.Module, file: Path, name: str, classifier: Sequence[str]) -> dict[str, Any]:
    """Give a net the weights of a safetensors file; returns its SHA-256 and the tensors that were not used.

    Names may all stand behind one more word, as in "module.conv1.weight". Tensors of the removed classifier may be
    there; others that the net does not have are named in a warning. Numbers are taken over as the net's own type.

    Raises:
        ConfigError: the file cannot be read, is of a kind that could run code, lacks tensors, or has wrong shapes.
    """
    content, tensors = read(file)
    wanted = net.state_dict()
    tensors = _without_prefix(tensors, wanted)
    # Old files have no counter of batches, which only matters to norms without momentum.
    missing = [key for key in wanted if key not in tensors and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in tensors and tensors[key].shape != wanted[key].shape]
    unused = [key for key in tensors if key not in wanted]
    other = [key for key in unused if not key.startswith(tuple(f"{part}." for part in classifier))]
    if missing or wrong:
        shapes = [f"{key} is {tuple(tensors[key].shape)}, not {tuple(wanted[key].shape)}" for key in wrong]
        parts = [
            f"{len(names)} tensors {what} ({_listed(names)})"
            for what, names in (
                ("are missing", missing),
                ("have another shape", shapes),
                ("are not of this net", other),
            )
            if names
        ]
        raise ConfigError(f"{file} does not hold the weights of {name.partition('@')[0]}: {'; '.join(parts)}")
    bad = [key for key in wanted if key in tensors and not tensors[key].float().isfinite().all()]
    if bad:
        raise ConfigError(f"{file} holds numbers that are not finite: {_listed(bad)}")
    net.load_state_dict(
        {key: tensors[key].to(value.dtype) if key in tensors else value for key, value in wanted.items()}
    )
    if other:
        _log.warning(f"{file}: {len(other)} tensors are not of this net and were not used: {_listed(other)}")
    if len(other) < len(unused):
        _log.info(f"{file}: the classifier was left out")
    return {"sha256": hashlib.sha256(content).hexdigest(), "unused": unused}


def read(file: Path) -> tuple[bytes, dict[str, Tensor]]:
    """The bytes and the tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    if file.suffix.lower() in PICKLES:
        raise ConfigError(
            f"{file} may hold a pickle, which can run code when it is opened, so it is not; convert it once with: "
            f"nearfar weights {file} {file.with_suffix('.safetensors').name}"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    try:
        return content, load_tensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} is not a whole safetensors file: {error}") from None


def convert(file: Path, out: Path) -> tuple[list[str], list[str]]:
    """Write the tensors of a file by torch.save as safetensors; returns the names written and the entries left out.

    Only tensors and plain containers are read (`weights_only`); a file that needs more, such as a whole saved model,
    is refused. Weights that lie under "state_dict", "model" or the like are taken from there.

    Raises:
        DataError: it cannot be read so, or holds no tensors. NearfarError: `out` cannot be written.
    """
    from pickle import UnpicklingError

    from safetensors.torch import save as save_tensors

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{file} cannot be read as plain tensors: {reason}. If it holds a whole model, save its state_dict() where "
            "you trust the file"
        ) from None
    while isinstance(found, Mapping) and not any(isinstance(value, Tensor) for value in found.values()):
        inner = [found[key] for key in ("state_dict", "model", "model_state_dict", "net", "module") if key in found]
        if not inner:
            break
        found = inner[0]
    entries = found.items() if isinstance(found, Mapping) else ()
    tensors = {str(key): value for key, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise DataError(f"{file} holds no tensors by name")
    left = [str(key) for key, value in entries if not isinstance(value, Tensor)]
    # Tensors that share memory are stored apart, which safetensors asks for.
    content = save_tensors({key: value.detach().clone().contiguous() for key, value in tensors.items()})
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise NearfarError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None
    return list(tensors), left


def _without_prefix(tensors: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the net's own names, where all of them stand behind one word more."""
    first = {key.partition(".")[0] for key in tensors}
    if len(first) == 1 and not any(key in wanted for key in tensors):
        return {key.partition(".")[2]: value for key, value in tensors.items()}
    return tensors


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
