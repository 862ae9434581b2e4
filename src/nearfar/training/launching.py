"""Start several processes that do one job together, look after them, and let none outlive the others.

The job is a function by name and its arguments. It goes to each process through its standard input, which then stays
open: a process ends at once when the one that started it is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nearfar.errors import ConfigError, NearfarError
from nearfar.training.stopping import StopSignal

PATIENCE = 3.0  # seconds that the others have to say what ended them, once one process has failed
_POLL = 0.05
_HEADER = 8  # bytes of the length of a job


def launch(task: str, arguments: dict[str, Any], devices: int, threads: int | None = None) -> None:
    """Do a task in `devices` processes at once, joined in a group of torch.distributed.

    Args:
        task: "module:function", called with the arguments in every process.
        arguments: whatever can be pickled.
        threads: of the CPU, shared out over the processes; as many as this process has when None.

    Raises:
        NearfarError: what one of the processes raised, or how it ended. All others have ended then too.
        Interrupted: Ctrl-C or SIGTERM, which goes on to the first process, which agrees with the others when to stop.
    """
    each = max(1, (threads or torch.get_num_threads()) // devices)
    try:
        job = pickle.dumps((task, arguments, each))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(f"this cannot be sent to other processes, so leave out devices: {error}") from None
    with (
        tempfile.TemporaryDirectory(prefix="nearfar-") as folder,
        StopSignal(aloud=False) as stop,
        _started(Path(folder), job, devices) as processes,
    ):
        passed_on = False
        while any(process.poll() is None for process in processes):
            if stop.requested and not passed_on:
                processes[0].send_signal(signal.Signals[stop.requested])
                passed_on = True
            if any(process.returncode for process in processes):
                _wait(processes, PATIENCE)
                break
            time.sleep(_POLL)
        _raise_what_went_wrong(processes, Path(folder), stop.requested is not None)


@contextmanager
def _started(folder: Path, job: bytes, devices: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, each in a session of its own, so that Ctrl-C reaches them through this one alone."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(devices):
            with open(folder / f"{rank}.log", "wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "nearfar.training.member", str(rank), str(devices), str(folder)],
                        stdin=subprocess.PIPE,
                        # The first speaks for all; what the others say is kept in case they fail.
                        stdout=None if rank == 0 else log,
                        stderr=None if rank == 0 else log,
                        start_new_session=True,
                        env=_environment(),
                    )
                )
        for process in processes:
            assert process.stdin is not None
            try:
                process.stdin.write(len(job).to_bytes(_HEADER, "little") + job)
                process.stdin.flush()
            except BrokenPipeError:  # it ended already; how, is seen by those who wait for it
                continue
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _environment() -> dict[str, str]:
    """The variables of the processes: those of this one and its modules, one thread at first, and no other machine."""
    variables = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        variables.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return {"TORCH_CPP_LOG_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"} | variables


def _wait(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(_POLL)


def _raise_what_went_wrong(processes: list[subprocess.Popen[bytes]], folder: Path, stopped: bool) -> None:
    """Raise the first cause: an error that a process names, else one that was ended, else one that lost the others."""
    codes = [process.poll() for process in processes]
    if not any(codes):
        return
    told: dict[int, dict[str, Any]] = {}
    for rank in range(len(codes)):
        file = folder / f"{rank}.json"
        if file.exists():
            told[rank] = json.loads(file.read_text(encoding="utf-8"))
    for outcome in told.values():
        if outcome["kind"] is not None:
            raise _error(outcome)
    for rank, outcome in told.items():
        if not outcome["lost"]:
            raise NearfarError(f"process {rank} of {len(codes)} failed: {outcome['message']}")
    if stopped:  # before there was anything to finish
        raise KeyboardInterrupt
    silent = [rank for rank, code in enumerate(codes) if code and rank not in told]
    rank = (silent or list(told))[0]
    raise NearfarError(f"process {rank} of {len(codes)} {_how_it_ended(codes[rank] or 0, folder / f'{rank}.log')}")


def _error(outcome: dict[str, Any]) -> NearfarError:
    """The error of another process, as this one's."""
    module, _, name = outcome["kind"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    error: NearfarError = kind.__new__(kind)
    error.args = (outcome["message"],)
    error.__dict__.update(outcome["more"])
    return error


def _how_it_ended(code: int, log: Path) -> str:
    """Words for a process that could not say itself why it failed."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}{'; the system does so when memory runs out' if name == 'SIGKILL' else ''}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return f"ended with code {code}{': ' + lines[-1] if lines else ''}"
