"""Texts that another program wrote for ours: paraphrases, or translations there and back, kept in a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from nearfar.errors import ConfigError, DataError

from .edits import VARIANT, uniform

_MASK = re.compile(r"\[MASK\]|<mask>")


class Variants:
    """The variants of each text. Of those of one text every view takes one at random.

    Args:
        pairs: text and variant, any number for a text. Texts are matched whatever their spaces are. Left out are pairs
            with an empty text, with a variant that is equal to its text, or that are there already, and variants that
            a model has not finished: with a line break that their text has not, or with a mask in them.
        path: the file they come from.

    Attributes:
        counts: how many pairs were "kept", and left out as "empty", "equal", "doubled" or "broken".

    >>> found = Variants([("a cat", "one cat"), ("a cat", "a  cat")])
    >>> found.counts
    {'kept': 1, 'empty': 0, 'equal': 1, 'doubled': 0, 'broken': 0}
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], path: Path | None = None) -> None:
        self.path = path
        self.counts = {"kept": 0, "empty": 0, "equal": 0, "doubled": 0, "broken": 0}
        self._known: dict[str, list[str]] = {}
        for text, variant in pairs:
            known = self._known.setdefault(_bare(text), [])
            kind = "kept"
            if not (text.strip() and variant.strip()):
                kind = "empty"
            elif _bare(variant) == _bare(text):
                kind = "equal"
            elif variant in known:
                kind = "doubled"
            elif ("\n" in variant.strip() and "\n" not in text.strip()) or _MASK.search(variant):
                kind = "broken"
            else:
                known.append(variant)
            self.counts[kind] += 1

    @classmethod
    def read(cls, path: str | Path) -> Variants:
        """Variants from a JSONL or Parquet file with `text` and `variant`; anything else that it holds is left alone.

        Raises:
            DataError: it cannot be read, or holds no variant of any text.
        """
        path = Path(path)
        pairs = _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_lines(path)
        made = cls(pairs, path)
        if not made.counts["kept"]:
            raise DataError(f"{path}: no text has a variant ({made.counts}); write lines of text and variant")
        return made

    def of(self, text: str) -> list[str]:
        """The variants of a text."""
        return list(self._known.get(_bare(text), ()))

    def chosen(self, texts: Sequence[str], seeds: Tensor, share: float) -> list[str]:
        """Each text, or with probability `share` one of its variants; a text without any stays."""
        drawn = uniform(seeds, VARIANT, 2).tolist()
        made = []
        for text, (whether, which) in zip(texts, drawn, strict=True):
            known = self._known.get(_bare(text)) if whether < share else None
            made.append(known[int(which * len(known))] if known else text)
        return made


def rewrite(
    texts: Sequence[str],
    write: Callable[[list[str]], Sequence[str]],
    cache: str | Path,
    name: str | None = None,
    batch_size: int = 64,
) -> list[str]:
    """What `write` makes of each text; each is asked for once, now and in any later call with the same file.

    The file is one of `Variants`: a line of JSON for each text, on the disk before the next batch is asked for. When it
    is interrupted, the next call asks for what is missing.

    Args:
        texts: any texts; equal ones are one.
        write: from some texts to as many others, such as a model that paraphrases.
        cache: the file, which is made when it is not there. Several writers may share it.
        name: of the writer, which tells its lines from those of others: the model, its prompt and seed. A function
            that has a name of its own needs none.
        batch_size: texts in one call of `write`.

    Returns:
        One text for each, in order.

    Raises:
        ConfigError: the writer has no name.
        DataError: `write` does not return as many texts as it was given, or the file cannot be read.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "loud.jsonl"
    >>> rewrite(["tea", "milk", "tea"], lambda texts: [text.upper() for text in texts], file, name="upper case")
    ['TEA', 'MILK', 'TEA']
    >>> Variants.read(file).of("milk")
    ['MILK']
    """
    by = name or _name_of(write)
    cache = Path(cache)
    _mend(cache)
    known = {
        record["text"]: record["variant"]
        for record in (_records(cache) if cache.exists() else ())
        if record.get("by") == by
    }
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    for first in range(0, len(missing), batch_size):
        asked = missing[first : first + batch_size]
        written = list(write(list(asked)))
        if len(written) != len(asked) or not all(isinstance(one, str) for one in written):
            raise DataError(f"{by} was given {len(asked)} texts and must return as many, each a str")
        _append(cache, [{"text": a, "variant": b, "by": by} for a, b in zip(asked, written, strict=True)])
        known.update(zip(asked, written, strict=True))
    return [known[text] for text in texts]


def _bare(text: str) -> str:
    return " ".join(text.split())


def _name_of(write: Callable[[list[str]], Sequence[str]]) -> str:
    name = getattr(write, "__qualname__", None)
    if name is None or "<lambda>" in name:
        raise ConfigError("give the writer a name, such as the model and its prompt: rewrite(..., name='...')")
    return f"{write.__module__}.{name}"


def _append(path: Path, records: list[dict[str, str]]) -> None:
    """Whole lines, on the disk when this returns."""
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with open(path, "ab") as file:
        file.write(content.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())


def _mend(path: Path) -> None:
    """End the last line, or leave it out when a crash left a part of it."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        last = content.rfind(b"\n") + 1
        try:
            json.loads(content[last:])
        except ValueError:
            os.truncate(path, last)
        else:
            with open(path, "ab") as file:
                file.write(b"\n")


def _records(path: Path) -> Iterator[dict[str, str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8", "surrogatepass"))
            if not (isinstance(record["text"], str) and isinstance(record["variant"], str)):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and isinstance(error, ValueError):
                return  # the last line, without its end, is what a crash left
            raise DataError(f'{path}, line {number}: must be {{"text": "...", "variant": "..."}}') from error
        yield record


def _of_lines(path: Path) -> Iterator[tuple[str, str]]:
    for record in _records(path):
        yield record["text"], record["variant"]


def _of_parquet(path: Path) -> Iterator[tuple[str, str]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'nearfar[text]'") from error
    try:
        table = pyarrow.parquet.read_table(path, columns=["text", "variant"])
        texts, variants = (table[name].cast(pyarrow.string()).to_pylist() for name in ("text", "variant"))
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot read columns text and variant: {error}") from error
    for text, variant in zip(texts, variants, strict=True):
        yield text or "", variant or ""
