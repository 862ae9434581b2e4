"""Stopping on request: Ctrl-C or SIGTERM ends a run after the current step, with its state on disk."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from nearfar.errors import NearfarError


class Interrupted(NearfarError):
    """Training was stopped on request after ``step`` steps; the checkpoint is written."""

    def __init__(self, step: int, cause: str, out: object) -> None:
        super().__init__(
            f"stopped by {cause} after step {step}; the checkpoint in {out} is written, resume goes on from it"
        )
        self.step = step


class StopSignal:
    """While open, the first SIGINT or SIGTERM sets ``requested``; the same once more aborts at once.

    One of each is one request: torchrun sends SIGTERM to processes that Ctrl-C has reached already. Python delivers
    signals to the main thread only, so elsewhere this does nothing.

    Args:
        aloud: say on standard error that the signal has come.
    """

    def __init__(self, aloud: bool = True) -> None:
        self.requested: str | None = None
        self.aloud = aloud
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested == name:
            raise KeyboardInterrupt
        if self.requested is not None:
            return
        self.requested = name
        if not self.aloud:
            return
        # os.write, since a print that was itself interrupted must not be entered again
        os.write(2, f"\n{self.requested}: finishing this step and writing the checkpoint; once more aborts\n".encode())
