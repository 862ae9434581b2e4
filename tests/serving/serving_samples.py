"""What the small stores hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TEXTS = [
    "a cat sleeps on the stove", "a dog barks at the postman", "stars shine at night", "the kitten naps",
    "the moon rises over the sea", "a wolf howls", "clouds hide the sun", "the puppy barks",
]  # fmt: skip
KINDS = ["animals", "animals", "sky", "animals", "sky", "animals", "sky", "animals"]
PICTURES = 40
Serve = Callable[..., Any]


def until(condition: Callable[[], bool], seconds: float = 50) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not come about"
        time.sleep(0.01)
