"""Tables to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from table_samples import people, write_csv


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table of the given columns, or of `people`."""

    def make(name: str = "people.csv", delimiter: str = ",", **columns: list[Any]) -> Path:
        return write_csv(tmp_path / name, columns or people(), delimiter)

    return make
