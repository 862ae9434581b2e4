"""How far a comparison is: which method of how many, its bar, and the time that all may still take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from ..report.text import duration


class Progress:
    """Bars on a terminal; lines that stay, by `say`, everywhere.

    Args:
        count: runs in all.
        shown: draw bars; on a terminal only when None.
        say: gets one line for every run that is over.
        pace: seconds that a run is expected to take, where that is known.
    """

    def __init__(self, count: int, shown: bool | None, say: Callable[[str], None], pace: float | None) -> None:
        self.count, self.pace, self._say = count, pace, say
        self.shown = sys.stderr.isatty() if shown is None else shown
        self.number, self.taken = 0, list[float]()
        self._bar: Any = None

    def begin(self, name: str) -> None:
        """The next run."""
        self.number += 1
        self.name, self.began = name, time.monotonic()

    def stage(self, what: str, total: int | None = None) -> None:
        """A part of the work on this run, in so many steps."""
        self.close()
        head = f"{self.number} of {self.count} " if self.number else ""
        self._bar = tqdm(
            total=total, desc=f"{head}{self.name}: {what}", disable=not self.shown, leave=False, unit="step"
        )

    def step(self, record: dict[str, Any] | None) -> None:
        """The newest line of the log of the run."""
        if self._bar is not None and record is not None:
            self._bar.n = record["step"]
            self._bar.set_postfix_str(f"loss {record['loss'] or float('nan'):.4g}{self._left()}")

    def told(self, what: str) -> None:
        """What is being done within the stage."""
        if self._bar is not None:
            self._bar.set_postfix_str(what)

    def end(self, text: str, counted: bool = True) -> None:
        """The run is over; one that was only looked up says nothing about how long others take."""
        self.close()
        if counted:
            self.taken.append(time.monotonic() - self.began)
        with tqdm.external_write_mode(file=sys.stderr):
            self._say(f"{self.number} of {self.count}  {self.name}: {text}")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _left(self) -> str:
        """The time that the runs after this one will take, as far as one can know."""
        rest = self.count - self.number
        each = sum(self.taken) / len(self.taken) if self.taken else self.pace
        return f", then {rest} more, about {duration(rest * each)}" if rest and each else ""
