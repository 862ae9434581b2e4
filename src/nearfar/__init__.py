"""nearfar: representations learned by contrast, pulling what is near together and pushing what is far apart.

    import nearfar as nf

    loss = nf.objectives.NTXent(temperature=0.1)          # in any PyTorch loop
    run = nf.fit("photos/", method="simclr", epochs=20)   # or the whole job
    vectors = run.embed("photos/")
    nf.evaluate(run, "photos/")
    nf.compare("photos/", ["simclr", "moco", "swav"], budget="5m")
    nf.cached(loss, (encoder, view_1), (encoder, view_2), micro_batch=64).backward()   # large batches, little memory

Everything is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import VERSION as __version__

if TYPE_CHECKING:
    from . import (
        comparing,
        contrast,
        data,
        diagnosing,
        evaluation,
        methods,
        mining,
        modalities,
        models,
        objectives,
        report,
        testing,
        training,
    )
    from .assess import evaluate
    from .comparing import compare
    from .negatives import mine
    from .planning import plan
    from .run import Run, fit, resume
    from .sentence_loss import sentence_transformers_loss
    from .training import cached

_ROOMS = (
    "comparing",
    "contrast",
    "data",
    "diagnosing",
    "evaluation",
    "methods",
    "mining",
    "modalities",
    "models",
    "objectives",
    "report",
    "testing",
    "training",
)
_NAMES = {
    "cached": "training",
    "compare": "comparing",
    "fit": "run",
    "mine": "negatives",
    "plan": "planning",
    "resume": "run",
    "Run": "run",
    "evaluate": "assess",
    "sentence_transformers_loss": "sentence_loss",
}

__all__ = [
    "Run",
    "__version__",
    "cached",
    "compare",
    "comparing",
    "contrast",
    "data",
    "diagnosing",
    "evaluate",
    "evaluation",
    "fit",
    "methods",
    "mine",
    "mining",
    "modalities",
    "models",
    "objectives",
    "plan",
    "report",
    "resume",
    "sentence_transformers_loss",
    "testing",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'nearfar' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
