"""Paragraphs of the Debian Handbook beside the same ones in another language, as a file of pairs.

Run: apt-get download debian-handbook && dpkg -x debian-handbook_*.deb handbook
     python -m benchmarks.handbook handbook --language fr-FR --out pairs.csv
Real text of a natural spread of lengths, from a heading's few words to half a page. Every page has as many paragraphs
in all languages, so that the place of a paragraph says which one it translates; those not translated are left out.
"""

from __future__ import annotations

import argparse
import csv
from html.parser import HTMLParser
from pathlib import Path

SOURCE = "en-US"


class Paragraphs(HTMLParser):
    """The text of every ``<div class="para">`` of a page, what is nested in it included."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.depth = 0  # of <div> inside a paragraph

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A paragraph begins, or goes deeper."""
        if tag == "div" and (self.depth or ("class", "para") in attrs):
            self.depth += 1
            if self.depth == 1:
                self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        """One level up."""
        self.depth -= tag == "div" and self.depth > 0

    def handle_data(self, data: str) -> None:
        """More of the paragraph's text."""
        if self.depth:
            self.found[-1] += data


def paragraphs(page: Path) -> list[str]:
    """The paragraphs of a page, spaces made one."""
    parser = Paragraphs()
    parser.feed(page.read_text(encoding="utf-8"))
    return [" ".join(text.split()) for text in parser.found]


def aligned(folder: Path, language: str) -> list[tuple[str, str]]:
    """(English, the other language) of all pages with as many paragraphs in both."""
    pairs = []
    books = next(folder.rglob(SOURCE)).parent
    for page in sorted((books / SOURCE).glob("*.html")):
        here, there = paragraphs(page), paragraphs(books / language / page.name)
        if len(here) == len(there):
            pairs += [(one, other) for one, other in zip(here, there, strict=True) if one and other and one != other]
    return pairs


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", default="fr-FR")
    parser.add_argument("--out", type=Path, default=Path("pairs.csv"))
    how = parser.parse_args()
    pairs = aligned(how.folder, how.language)
    with how.out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("anchor", "positive"), *pairs])
    print(f"{how.out}: {len(pairs):,} pairs")


if __name__ == "__main__":
    main()
