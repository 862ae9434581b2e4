"""What reading comes across: rows that are left out, each with its place and the reason, and rows that are changed."""

from __future__ import annotations

import logging
from typing import Any, Literal

from nearfar.data.source import Skipped
from nearfar.errors import DataError

Policy = Literal["skip", "refuse"]
EXAMPLES = 5
NUL = "NUL characters left out"

log = logging.getLogger(__name__)


class Findings:
    """Faults by the policy: "skip" leaves the row out and lists it, "refuse" ends the reading.

    Example:
        >>> found = Findings()
        >>> found.skip("t.txt:3", "an empty row")
        >>> found.note("cut", "t.txt:9")
        >>> len(found.skipped), found.facts()
        (1, {'cut': {'rows': 1, 'first': ['t.txt:9']}})
    """

    def __init__(self, policy: Policy = "skip") -> None:
        self.policy = policy
        self.skipped: list[Skipped] = []
        self._notes: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def skip(self, place: str, reason: str) -> None:
        """A row that cannot be used.

        Raises:
            DataError: the policy is "refuse".
        """
        if self.policy == "refuse":
            raise DataError(f"{place}: {reason}. Mend it, or leave such rows out (policy=skip)")
        self.skipped.append(Skipped(place, reason))

    def note(self, what: str, place: str) -> None:
        """A row that is used in another form than it was found."""
        self._counts[what] = self._counts.get(what, 0) + 1
        if len(first := self._notes.setdefault(what, [])) < EXAMPLES:
            first.append(place)

    def facts(self) -> dict[str, Any]:
        """How many rows were changed in which way, and the first of them."""
        return {what: {"rows": self._counts[what], "first": first} for what, first in self._notes.items()}

    def report(self, where: str, kept: int) -> None:
        """Say in the log what was left out and what was changed."""
        if self.skipped:
            first = "; ".join(f"{item.name}: {item.reason}" for item in self.skipped[:EXAMPLES])
            count = len(self.skipped)
            log.warning("%s: %d of %d rows are left out. First: %s", where, count, count + kept, first)
        for what, fact in self.facts().items():
            log.warning("%s: %d rows: %s (%s)", where, fact["rows"], what, ", ".join(fact["first"]))
