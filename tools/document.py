"""Write the parts of the documents that the code knows best: the table of objectives, and a page for each.

Run: python -m tools.document
A test fails when a document is not what this writes.
"""

from __future__ import annotations

import re
from pathlib import Path

from nearfar.contrast import Composition, Objective
from nearfar.objectives import catalogue

from .pages import page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "objectives.md"
PAGES = ROOT / "docs" / "objectives"
HEADS = ("name", "when to use it", "formula", "near / far by default", "value at chance", "source")


def near_and_far(entry: type[Objective]) -> str:
    """Who is near and who is far by default."""
    if entry.near:
        return f"{entry.near} / {entry.far}"
    if not issubclass(entry, Composition):
        raise ValueError(f"{entry.__name__} compares no pairs: say in its attributes `near` and `far` who they are")
    if entry.supervised:
        return "rows of the same label / rows of another label"
    if entry.layout == "joint":
        return "other views of the item / all views of other items"
    if entry.layout == "apart":
        return "other views of the item / other items in the same view"
    both = ", both ways" if entry().two_way else ""
    return f"the item's row in view 2 / the other rows of view 2{both}"


def row(name: str, entry: type[Objective]) -> str:
    """The line of one objective."""
    for what in ("use", "formula", "source"):
        if not getattr(entry, what):
            raise ValueError(f"{name} has no `{what}`: say it in an attribute of the class")
    chance = f"`{entry.at_chance}`" if entry.at_chance else "not defined"
    source = entry.source + (f" (unconfirmed: {entry.reconstructed})" if entry.reconstructed else "")
    cells = (f"[`{name}`](objectives/{name}.md)", entry.use, f"`{entry.formula}`", near_and_far(entry), chance, source)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table() -> str:
    """All objectives."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    return "\n".join(lines + [row(name, entry) for name, entry in catalogue().items()])


def written(document: str) -> str:
    """The document with the table in its place."""
    start, end = "<!-- table: objectives -->", "<!-- end of table -->"
    pattern = re.compile(f"(?<={re.escape(start)}\n).*?(?={re.escape(end)})", re.S)
    return pattern.sub(lambda _: table() + "\n", document, count=1)


def pages() -> dict[Path, str]:
    """Every page, by the file where it belongs."""
    return {PAGES / f"{name}.md": page(name, entry, near_and_far(entry)) for name, entry in catalogue().items()}


def main() -> None:
    """Write, and remove the pages of objectives that are gone."""
    PAGE.write_text(written(PAGE.read_text()))
    PAGES.mkdir(exist_ok=True)
    kept = pages()
    for path in set(PAGES.glob("*.md")) - set(kept):
        path.unlink()
    for path, text in kept.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
