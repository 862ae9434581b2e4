"""What the log of a run says over steps and over seconds, thinned to what a chart can show."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 240


def of(history: list[dict[str, Any]], first: dict[str, float] | None = None) -> dict[str, list[Any]]:
    """Columns for the charts: `step`, `seconds`, `loss`; and of the looks `look_step`, `look_seconds`, what they saw.

    first: what was seen before the first step. The loss is thinned to at most 240 lines by leaving lines out, but never
    the last one.
    """
    rows = history
    if len(rows) > MOST:
        rows = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, MOST).round().astype(int))]
    looks: list[dict[str, Any]] = [{"step": 0, "seconds": 0.0, "watched": first}] if first else []
    looks += [row for row in history if row.get("watched")]
    seen = sorted({key for row in looks for key in row["watched"]})
    return {
        **{key: [row.get(key) for row in rows] for key in ("step", "seconds", "loss")},
        **{f"look_{key}": [row[key] for row in looks] for key in ("step", "seconds")},
        **{key: [row["watched"].get(key) for row in looks] for key in seen},
    }
