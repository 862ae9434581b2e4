"""What is not answered, and why, in words that tell nothing about this machine."""

from __future__ import annotations

import re

# A path from the root or from home, not one that follows a letter, as in image/png or 1/2.
_PATH = re.compile(r"""(?<![\w.<])(?:file:|~|[A-Za-z]:)?[/\\][^\s'",;:)`]*""")


class Refused(Exception):
    """A request that is answered with a status of 400 or more.

    Attributes:
        status: of HTTP.
        message: what is wrong and what to do, for the one who asked.
        retry: seconds after which to try again; None where that would not help.
    """

    def __init__(self, status: int, message: str, retry: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry = status, message, retry

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry is None else {"retry-after": str(self.retry)}


def without_paths(message: str) -> str:
    """A message of which paths of this machine are cut to their last part.

    >>> without_paths("/home/me/my.store has no row 'a', /root/x.rs:3; an image/png of 1/2")
    "my.store has no row 'a', x.rs:3; an image/png of 1/2"
    """
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], message)
