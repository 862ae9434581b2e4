"""The other side of the jobs: start one, show how far it is, pass Ctrl-C on, and read its outcome."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError
from ..run import save
from ..training import Interrupted
from ..training.stopping import StopSignal

PATIENCE = 60.0  # seconds that a process of a comparison that was killed may take to end
_POLL = 0.2


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[int | None]:
    """Hold a folder, so that no two comparisons write to it; gives what a process started from here inherits.

    The hold lasts until this process *and* those it started have ended, however they end.

    Raises:
        ConfigError: another comparison has it and does not end.
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise ConfigError(f"another comparison is running in {folder}; wait for it") from None
            say(f"waiting for the comparison that is running in {folder}")
            time.sleep(_POLL)
        yield file.fileno()


def do(
    job: dict[str, Any], folder: Path, hold: int | None, step: Callable[[dict[str, Any] | None], None]
) -> dict[str, Any]:
    """Do a job in a process of its own and return its outcome; a failure is an outcome with an `error`.

    Args:
        job: see `worker`; its outcome is kept in `folder`, with all that the process says.
        hold: what `alone` gave.
        step: called several times a second with the newest line of the run's log.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, after the process has written its checkpoint.
    """
    outcome = folder / f"{job['task']}.json"
    outcome.unlink(missing_ok=True)
    path = save(folder / "job.json", json.dumps({**job, "outcome": str(outcome)}, indent=1).encode())
    log = folder / f"{job['task']}.log"
    with open(log, "wb") as said, StopSignal() as stop, _started(path, said, hold) as process:
        asked = False
        while process.poll() is None:
            time.sleep(_POLL)
            step(newest(Path(job["out"]) / "metrics.jsonl"))
            if stop.requested and not asked:
                process.send_signal(signal.SIGINT)
                asked = True
    if stop.requested:
        raise Interrupted(0, stop.requested, job["out"])
    if outcome.exists():
        made: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
        return made
    return {"done": False, "error": _how_it_ended(process.returncode, log)}


@contextmanager
def _started(job: Path, said: IO[bytes], hold: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does a job. It has a session of its own, so that Ctrl-C reaches it through this one alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nearfar.comparing.worker", str(job)],
        stdin=subprocess.PIPE,  # closed when this process is gone, for which the other one waits
        stdout=said,
        stderr=said,
        start_new_session=True,
        pass_fds=() if hold is None else (hold,),
    )
    try:
        yield process
    finally:  # a second Ctrl-C, or an error here
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def newest(metrics: Path, tail: int = 16384) -> dict[str, Any] | None:
    """The last whole line of a metrics.jsonl that is being written, or None."""
    try:
        with open(metrics, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - tail))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:  # its beginning is not in the tail
            return None
        return record
    return None


def _how_it_ended(code: int, log: Path) -> str:
    """Words for a process that could not say itself why it failed."""
    if code < 0:
        name = signal.Signals(-code).name
        reason = "; the system does so when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{reason}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return f"its process ended with code {code}{': ' + lines[-1] if lines else ''} (see {log})"
