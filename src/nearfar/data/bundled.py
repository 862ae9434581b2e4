"""Small real data sets that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from nearfar.errors import ConfigError

NAMED = "bundled:"
Data = TypeVar("Data")
_FOLDER = Path(str(files("nearfar.data"))) / "bundled"
_PLACES = {"fashion": "fashion.npz", "glosses": "glosses", "sentences": "sentences.txt.xz"}


def names() -> list[str]:
    """Names of the data sets that come with the package.

    Example:
        >>> names()
        ['fashion', 'glosses', 'sentences']
    """
    return list(_PLACES)


def path(name: str = "fashion") -> Path:
    """Where a data set that comes with the package lies; made and licensed as `bundled/README.md` says.

    - `fashion`: Fashion-MNIST, 10,000 images to train on and 5,000 to test on, 28 x 28 grey, ten classes of clothing.
    - `glosses`: a reverse dictionary from WordNet, 27,191 entries (words, kind, examples) to be found by 27,105
      definitions: a collection with relevance of training, development and test queries that share no entry.
    - `sentences`: 20,000 definitions from WordNet of which none is in `glosses`, one a line.

    Raises:
        ConfigError: no such data set; lists those there are.

    Example:
        >>> path("fashion").name
        'fashion.npz'
    """
    if name not in _PLACES:
        raise ConfigError(f"no data set named {name!r} comes with nearfar; there are: {', '.join(names())}")
    return _FOLDER / _PLACES[name]


def located(data: Data) -> Data | Path:
    """The path of data named as "bundled:glosses"; other data as they are.

    Raises:
        ConfigError: no such data set.

    Example:
        >>> located("bundled:glosses").name, located("photos/")
        ('glosses', 'photos/')
    """
    text = str(data) if isinstance(data, str | Path) else ""
    return path(text.removeprefix(NAMED)) if text.startswith(NAMED) else data
