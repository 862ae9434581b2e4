"""One of several processes that do a job together: `python -m nearfar.training.member RANK WORLD FOLDER`.

See `launching`, which starts it. What goes wrong stands in FOLDER/RANK.json.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nearfar.errors import NearfarError
from nearfar.training.checkpoint import write_whole
from nearfar.training.launching import _HEADER
from nearfar.training.team import joined


def main(rank: int, world: int, folder: Path) -> int:
    """Do the job that comes through standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    task, arguments, threads = pickle.loads(_read(int.from_bytes(_read(_HEADER), "little")))
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        module, _, name = task.partition(":")
        with joined(rank, world, (folder / "meeting").as_uri()):
            getattr(importlib.import_module(module), name)(**arguments)
    except KeyboardInterrupt:
        return 130
    except NearfarError as error:
        kind = f"{type(error).__module__}:{type(error).__name__}"
        _tell(folder / f"{rank}.json", kind, str(error), vars(error), False)
        return 2
    except Exception as error:
        lost = _lost(error)
        if not lost:
            traceback.print_exc()
        text = " ".join(str(error).split())
        _tell(folder / f"{rank}.json", None, f"{type(error).__name__}: {text}", {}, lost)
        return 1
    return 0


def _lost(error: Exception) -> bool:
    """Whether this only says that another process has gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)


def _tell(path: Path, kind: str | None, message: str, more: dict[str, Any], lost: bool) -> None:
    record = {"kind": kind, "message": message, "more": more, "lost": lost}
    write_whole(path, json.dumps(record, default=str).encode())


def _read(count: int) -> bytes:
    """So many bytes of standard input, past all buffers."""
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _end_with_the_other_side() -> None:
    """Wait until standard input is closed, which it is when the process that started this one has ended."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # os._exit: after an error other processes may be gone, and the group would be waited for.
    code = main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
