"""Claims of contrastive theory as measurements: each runs on data of known truth and says whether the claim holds.

nearfar.diagnosing.diagnose("sufficiency", seeds=3)
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import (
    concentration,
    frames,
    growth,
    mean_classifier,
    mining,
    negatives,
    redundancy,
    resampling,
    simplicity,
    spectral,
    sufficiency,
    temperature,
    tuples,
)
from .finding import Diagnosis, DiagnosisOptions, Finding, Say

_PARTS = (
    sufficiency,
    negatives,
    concentration,
    temperature,
    mean_classifier,
    simplicity,
    growth,
    frames,
    tuples,
    redundancy,
    mining,
    resampling,
    spectral,
)
_DIAGNOSES = {part.DIAGNOSIS.name: part.DIAGNOSIS for part in _PARTS}

__all__ = ["Diagnosis", "DiagnosisOptions", "Finding", "catalogue", "diagnose", "find"]


def catalogue() -> dict[str, Diagnosis]:
    """All diagnoses by name."""
    return dict(_DIAGNOSES)


def find(name: str) -> Diagnosis:
    """A diagnosis by name.

    Raises ConfigError: there is none.

    >>> find("sufficiency").source.split(",")[0]
    'Lin & Mei 2025'
    """
    if name not in _DIAGNOSES:
        raise ConfigError(f"there is no diagnosis {name!r}; there are {', '.join(_DIAGNOSES)}")
    return _DIAGNOSES[name]


def diagnose(name: str, say: Say = lambda text: None, **settings: Any) -> Finding:
    """Measure a claim; `settings` are those that `find(name).describe()` lists, `say` is told of every step.

    Raises ConfigError: there is no such diagnosis or setting.
    """
    return find(name)(say, **settings)
