"""Files as they lie on disk: found in a folder, with the label that the folder gives."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from nearfar.data.source import Skipped
from nearfar.errors import ConfigError, DataError
from nearfar.modalities.archives import printable

LEVELS = ("label", "domain", "-")


@dataclass
class Listing:
    """Files to read, in order, before any of them is opened.

    Attributes:
        files: N paths.
        names: N texts for people, always printable.
        labels: N texts with "" for unknown, or None when there are no labels at all.
        domains: N values with blanks for unknown, or None when nobody said any.
        skipped: what is known to be unreadable already.
        ignored: how many files of which extension are no such files.
    """

    files: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    domains: list[str] | None = None
    skipped: list[Skipped] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)


def levels_of(folders: str) -> list[str]:
    """What the levels of folders say: a setting such as "domain/label" apart.

    Raises:
        ConfigError: a level that is neither label nor domain nor -, or one that stands twice.

    >>> levels_of("domain/-/label")
    ['domain', '-', 'label']
    """
    levels = folders.split("/")
    named = [level for level in levels if level != "-"]
    if not set(levels) <= set(LEVELS) or len(named) != len(set(named)):
        raise ConfigError(
            f"folders = {folders!r}: say of each level of folders what it is, label, domain or - for neither, such as "
            "domain/label; each of the two once"
        )
    return levels


Levels = Annotated[str, AfterValidator(lambda folders: "/".join(levels_of(folders)))]


def list_folder(folder: Path, extensions: tuple[str, ...], noun: str, folders: str = "label") -> Listing:
    """Find the files with some extensions below a folder, in sorted order.

    The name of the first-level folder is the label, unless `folders` says otherwise; files in no folder have none.
    Hidden files and folders (leading dot) are passed over. Links to folders are followed, each folder once.

    Args:
        extensions: in small letters, such as ".png".
        noun: what such files are called in messages: "image".
        folders: what the levels of folders say, see `levels_of`.

    Raises:
        DataError: no file with one of the extensions; says which are read and what else is there.
    """
    listing, levels = Listing(), levels_of(folders)
    ignored: Counter[str] = Counter()
    told: dict[str, list[str]] = {level: [] for level in LEVELS}
    seen: set[tuple[int, int]] = set()

    def refused(error: OSError) -> None:
        listing.skipped.append(Skipped(printable(error.filename), f"folder not readable: {error.strerror}"))

    for place, inside, files in os.walk(folder, onerror=refused, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        inner = Path(place).relative_to(folder)
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix not in extensions:
                ignored[printable(suffix) or "no extension"] += 1
                continue
            listing.files.append(folder / inner / name)
            for level in LEVELS:
                deep = levels.index(level) if level in levels else len(inner.parts)
                told[level].append(printable(inner.parts[deep]) if deep < len(inner.parts) else "")
        if not inside and not files and inner.suffix.lower() in extensions:
            listing.skipped.append(Skipped(printable(place), f"a folder, not {_article(noun)} file"))

    listing.names = [printable(file) for file in listing.files]
    listing.labels, listing.domains = (told[kind] if any(told[kind]) else None for kind in ("label", "domain"))
    listing.ignored = dict(sorted(ignored.items()))
    if not listing.files:
        raise DataError(_nothing_found(folder, listing, extensions, noun))
    return listing


def _nothing_found(folder: Path, listing: Listing, extensions: tuple[str, ...], noun: str) -> str:
    if listing.skipped:
        found = "; ".join(f"{item.name}: {item.reason}" for item in listing.skipped[:3])
    elif listing.ignored:
        found = "it holds " + ", ".join(f"{count} x {suffix}" for suffix, count in listing.ignored.items())
    else:
        found = "it is empty"
    return (
        f"{printable(folder)}: no {noun}s in this folder ({found}). Files that are read end in {' '.join(extensions)}"
    )


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
