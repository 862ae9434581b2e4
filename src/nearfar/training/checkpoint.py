"""Checkpoints: one state tree on disk, whole or not at all, without pickle.

A checkpoint of step 123 is two files: ``step-00000123-<hash>.safetensors`` with the tensors and
``step-00000123.json`` with everything else and the name, size and SHA-256 of the tensor file. The JSON file is
written last and renamed into place: a checkpoint exists when its JSON file does, and a pair can never be mixed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nearfar.errors import NearfarError

FORMAT = 1
_MARK = "$tensor"


class CheckpointError(NearfarError):
    """A checkpoint cannot be written or read; the message names the file, the reason and what is still whole."""


@dataclass(frozen=True)
class Checkpoint:
    """A state tree read back: nested dicts and lists of tensors, numbers, strings, booleans and None."""

    step: int
    state: dict[str, Any]
    path: Path


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write ``state`` as the checkpoint of ``step``; keep the newest ``keep`` up to this step; returns the JSON path.

    Tuples come back as lists. Raises CheckpointError when the disk is full, the folder cannot be written or the tree
    holds something that is neither a tensor nor JSON; earlier checkpoints are untouched then.
    """
    tensors: dict[str, Tensor] = {}
    tree = _split(state, "", tensors)
    content = save_tensors(_saveable(tensors))
    digest = hashlib.sha256(content).hexdigest()
    name = f"step-{step:08d}-{digest[:16]}.safetensors"
    record = {
        "format": FORMAT,
        "step": step,
        "tensors": {"file": name, "bytes": len(content), "sha256": digest},
        "state_sha256": _digest(tree),
        "state": tree,
    }
    target = folder / f"step-{step:08d}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content)
        write_whole(target, json.dumps(record, indent=1).encode())
    except OSError as error:
        raise CheckpointError(_why_not_written(folder, step, len(content), error)) from error
    _prune(folder, step, keep)
    return target


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of ``folder``; None when there is none at all.

    One that is damaged is passed over with a warning that names it. Raises CheckpointError when all are damaged.
    """
    broken = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            broken.append(str(error))
            continue
        for message in broken:
            warnings.warn(f"{message}; using the checkpoint of step {checkpoint.step} instead", stacklevel=2)
        return checkpoint
    if broken:
        raise CheckpointError(f"no checkpoint in {folder} can be read: {'; '.join(broken)}")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint by its JSON file. Raises CheckpointError when it is damaged."""
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {record['format']}; this version reads format {FORMAT}")
        stored = record["tensors"]
        content = (path.parent / stored["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != stored["sha256"]:
            raise CheckpointError(
                f"{path.parent / stored['file']} is damaged: its content does not match the SHA-256 in {path.name}"
            )
        if _digest(record["state"]) != record["state_sha256"]:
            raise CheckpointError(f"{path} is damaged: its content does not match its own SHA-256")
        return Checkpoint(record["step"], _join(record["state"], load_tensors(content)), path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error


def checkpoint_paths(folder: Path) -> list[Path]:
    """The JSON files of the checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob("step-*.json"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, ``path`` holds the old content or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut; a system that cannot open folders (Windows) does without."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _why_not_written(folder: Path, step: int, size: int, error: OSError) -> str:
    message = f"the checkpoint of step {step} cannot be written to {folder}: {error.strerror or error}"
    if error.errno == errno.ENOSPC:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        message += f" (it needs {size / 2**20:.1f} MiB, {shutil.disk_usage(there).free / 2**20:.1f} MiB are free)"
    paths = checkpoint_paths(folder)
    if paths:
        message += f"; {paths[-1].name} is whole: make room and resume"
    return message


def _prune(folder: Path, step: int, keep: int) -> None:
    """Drop all but the newest ``keep`` checkpoints, those of a later step (abandoned by a resume) and left-overs."""
    ours = [path for path in checkpoint_paths(folder) if path.stem <= f"step-{step:08d}"][-keep:]
    wanted = set()
    for path in ours:
        try:
            wanted |= {path.name, json.loads(path.read_bytes())["tensors"]["file"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged one: nothing can resume from it
    # JSON files first: should we die half way, no JSON file is left without its tensors.
    for pattern in ("step-*.json", "step-*.safetensors", ".step-*.part"):
        for path in folder.glob(pattern):
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _split(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A copy of the tree for JSON, in which tensors are replaced by their path; the tensors go to ``tensors``."""
    if isinstance(node, Tensor):
        if path in tensors:
            raise CheckpointError(f"two tensors of the state are called {path!r}")
        tensors[path] = node
        return {_MARK: path}
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                raise CheckpointError(f"the state holds the key {key!r} at {path!r}; keys must be strings")
        return {key: _split(value, f"{path}/{key}" if path else key, tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_split(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    if node is None or isinstance(node, str | int | float | bool):
        return node
    raise CheckpointError(f"the state holds a {type(node).__name__} at {path!r}; only tensors and JSON can be saved")


def _join(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, dict):
        if set(node) == {_MARK}:
            return tensors[node[_MARK]]
        return {key: _join(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_join(value, tensors) for value in node]
    return node


def _saveable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU where needed; tensors that share memory (tied weights) are stored twice."""
    result, seen = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu", memory_format=torch.contiguous_format).contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result
